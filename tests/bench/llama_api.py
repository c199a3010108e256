"""llama.cpp's endpoints, answered by edged and by llama-server: the same requests, and what differs.

`.venv/bin/python -m tests.bench.llama_api`. Needs smollm2 and minilm from `edged pull`, and no quiet machine.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import edged_daemon, report
from tests.bench.models import BenchModel, installed
from tests.bench.peers import llama_server
from tests.bench.process import BenchFailed, start_here
from tests.cross_encoder import write_cross_encoder

_TURNS = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
_END = 2  # SmolLM2's <|im_end|>
_SCORES_ABS = 1e-5
_LOGPROBS_ABS = 0.05
_ALONE = {"cache_prompt": False, "return_tokens": True}
_QUERY = "Which animal lives in the arctic?"
_DOCUMENTS = [
    "Polar bears hunt seals on the ice of the far north.",
    "The stock market fell for the third day in a row.",
    "Text that spells [SEP] and [CLS].",
    "Penguins live on the other side of the world. " * 8,
]


class Case(NamedTuple):
    """A request, and what of an answer must be the same on both sides."""

    model: str
    path: str
    body: dict[str, Any]
    compared: Callable[[Any], Any]


def cases() -> Iterator[Case]:
    """What clients of llama.cpp's server ask."""
    for text in ("Hello <|im_end|> wörld 🚀", "  two  spaces\n\ttab", "日本語 naïve"):
        for option in ({}, {"parse_special": False}, {"add_special": True}, {"with_pieces": True}):
            yield Case("smollm2", "/tokenize", {"content": text, **option}, lambda answer: answer)
    yield Case("smollm2", "/detokenize", {"tokens": [19556, 905, 2, 28]}, lambda answer: answer)
    user = {"role": "user", "content": "Name three colours."}
    for messages in ([user], [{"role": "system", "content": "Be brief."}, user]):
        yield Case("smollm2", "/apply-template", {"messages": messages}, lambda answer: answer)
    prompt = _TURNS.format("Name three colours.")
    more: dict[str, Any]
    for more in ({}, {"stop": ["\n"]}, {"n_predict": 4}, {"logit_bias": [["1", False], [33, False]]}):
        greedy = {"prompt": prompt, "temperature": 0, "n_predict": 24, **_ALONE, **more}
        yield Case("smollm2", "/completion", greedy, _completion)
    tokens = {"prompt": [504, 1, "sky is"], "temperature": 0, "n_predict": 8, **_ALONE}
    yield Case("smollm2", "/completion", tokens, _completion)
    seeded = {"prompt": prompt, "seed": 7, "temperature": 1, "n_predict": 24, **_ALONE}
    yield Case("smollm2", "/completion", seeded, _completion)
    likely = {"prompt": prompt, "temperature": 0, "n_predict": 4, "n_probs": 3, "cache_prompt": False}
    yield Case("smollm2", "/completion", likely, _probabilities)
    for norm in (0, 1, 2, 3):
        yield Case("minilm", "/embedding", {"content": _QUERY, "embd_normalize": norm}, _numbers)
    for document in _DOCUMENTS:
        yield Case("cross", "/v1/rerank", {"query": _QUERY, "documents": [document]}, _scores)
    yield Case("cross", "/rerank", {"query": _QUERY, "documents": _DOCUMENTS, "top_n": 3}, _ranks)


@click.command(help=__doc__)
@click.option("--model-dir", "folder", type=click.Path(path_type=Path), help="Where the models are.")
def main(folder: Path | None) -> None:
    """Print a line for each request; exits with 1 where an answer differs."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as scratch:
        models = [
            each for each in installed(folder or model_dir(Config())) if each.id in ("smollm2", "minilm")
        ]
        if len(models) < 2:
            raise click.ClickException("pull smollm2 and minilm first")
        bert = next(each.file for each in models if each.id == "minilm")
        models.append(BenchModel("cross", "rank", write_cross_encoder(bert, Path(scratch) / "cross.gguf")))
        rows = list(_compared(models, Path(scratch)))
    report.print_table("Answers of edged and llama-server", "", ("model", "path", "request", "same"), rows)
    sys.exit(any(row[-1] != "yes" for row in rows))


def _compared(models: list[BenchModel], scratch: Path) -> Iterator[tuple[str, ...]]:
    """Whether both say the same, and else what each says."""
    with ExitStack() as stack:
        config = edged_daemon.write_config(scratch / "edged.yaml", models, "warm")
        mine = edged_daemon.Client(stack.enter_context(edged_daemon.start(start_here, config)))
        mine.wait_until_ready()
        theirs = {}
        for model in models:
            server = llama_server.Server(start_here, llama_server.binary(), _arguments(model))
            stack.enter_context(server.process)
            server.healthy_s()
            theirs[model.id] = server
        for case in cases():
            own = _answer(mine.request(case.path, {**case.body, "model": case.model}), case)
            peer = _answer(theirs[case.model].request(case.path, case.body), case)
            body = {name: value for name, value in case.body.items() if name != "prompt"}
            shown = json.dumps(body, ensure_ascii=False)[:70]
            yield case.model, case.path, shown, "yes" if own == peer else f"{own} != {peer}"


def _arguments(model: BenchModel) -> list[str]:
    kinds = {"generate": [], "embed": ["--embeddings"], "rank": ["--reranking"]}
    return [
        "-m",
        str(model.file),
        "--no-webui",
        "--jinja",
        "-c",
        "2048",
        "-np",
        "1",
        "-t",
        "1",
        *kinds[model.kind],
    ]


def _answer(answer: tuple[int, bytes], case: Case) -> Any:
    status, body = answer
    if status != 200:
        raise BenchFailed(f"{case.path}: {status}: {body[:200]!r}")
    return case.compared(json.loads(body))


def _completion(answer: Any) -> Any:
    """Without the token that ends an answer, which llama-server counts as one of it."""
    tokens = [token for token in answer["tokens"] if token != _END]
    told = ("content", "stop_type", "stopping_word", "tokens_evaluated", "prompt")
    return tokens, {name: answer[name] for name in told}


def _probabilities(answer: Any) -> Any:
    return [
        (
            each["id"],
            round(each["logprob"] / _LOGPROBS_ABS),
            [likely["id"] for likely in each["top_logprobs"]],
        )
        for each in answer["completion_probabilities"]
    ]


def _numbers(answer: Any) -> Any:
    [vector] = answer[0]["embedding"]
    largest = max(map(abs, vector))
    return [round(number / largest, 3) for number in vector]


def _scores(answer: Any) -> Any:
    told = [(each["index"], round(each["relevance_score"] / _SCORES_ABS)) for each in answer["results"]]
    return told, answer["usage"]["prompt_tokens"]


def _ranks(answer: Any) -> Any:
    """Scores depend on what else is in a batch, by a hundredth: llama.cpp then takes other kernels."""
    return [each["index"] for each in answer["results"]], answer["usage"]["prompt_tokens"]


if __name__ == "__main__":
    main()
