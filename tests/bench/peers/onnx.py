"""The int8 MiniLM under onnxruntime, set up by `onnx.sh` beside this file and run by `minilm_onnx.py`."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gguf import GGUFReader

from tests.bench.process import BenchFailed

_HERE = Path(__file__).parent
_SPACE = "\u2581"  # how a GGUF marks the first piece of a word


class OnnxMiniLM:
    """The running program: in-process work by `seconds`, HTTP on `port`."""

    def __init__(self, requests: IO[str], answers: IO[str], log: IO[str]) -> None:
        self._requests, self._answers, self._log = requests, answers, log
        self.port = int(self._line())

    def seconds(self, work: Sequence[Sequence[Sequence[str]]]) -> float:
        """Seconds that it takes for batches of texts, given by thread."""
        self._requests.write(json.dumps(work) + "\n")
        self._requests.flush()
        return float(self._line())

    def _line(self) -> str:
        if line := self._answers.readline():
            return line
        self._log.seek(0)
        raise BenchFailed(f"minilm_onnx.py ended:\n{self._log.read()[-2000:]}")


@contextmanager
def running(minilm: Path) -> Iterator[OnnxMiniLM]:
    """Start it, with the vocabulary of a MiniLM's GGUF file. Raises BenchFailed."""
    setup = subprocess.run([_HERE / "onnx.sh"], stdout=subprocess.PIPE, text=True, check=False)
    if setup.returncode != 0:
        raise BenchFailed(f"{_HERE / 'onnx.sh'} failed; its message is above")
    with (
        tempfile.NamedTemporaryFile("w", suffix=".txt") as vocabulary,
        tempfile.TemporaryFile("w+") as log,
    ):
        vocabulary.write("\n".join(map(word_piece, _tokens(minilm))))
        vocabulary.flush()
        command = [setup.stdout.strip(), str(_HERE / "minilm_onnx.py"), vocabulary.name]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield OnnxMiniLM(process.stdin, process.stdout, log)
            finally:
                process.terminate()


def word_piece(token: str) -> str:
    """A GGUF's token as vocab.txt has it: there, what is not the first piece of a word is marked."""
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        return token
    return token.removeprefix(_SPACE) if token.startswith(_SPACE) else f"##{token}"


def _tokens(file: Path) -> list[str]:
    field = GGUFReader(file).fields["tokenizer.ggml.tokens"]
    return [bytes(field.parts[index]).decode() for index in field.data]
