"""Embeds texts with llama.cpp in a process of its own: `python -m tests.reference.llama_vectors MODEL`.

Reads a JSON list of texts, prints a JSON list of {"tokens": [...], "vector": [...]}, vectors of length 1.
"""

import json
import sys

import llama_cpp


def main() -> None:
    """Answer one list."""
    model = llama_cpp.Llama(
        sys.argv[1], embedding=True, n_ctx=512, n_batch=512, n_ubatch=512, n_threads=2, verbose=False
    )
    answers = []
    for text in json.load(sys.stdin):
        tokens = model.tokenize(text.encode(), add_bos=True, special=False)
        vector = model.embed(text, normalize=True, truncate=False)
        answers.append({"tokens": tokens, "vector": vector})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
