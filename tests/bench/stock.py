"""The peer: a bare script that loads a model as llama-cpp-python does by default, and answers once.

Run as `python stock.py FILE embed|generate N_CTX`; prints `loaded` and `answered` when it has.
"""

import sys

import llama_cpp


def main(file: str, kind: str, n_ctx: str) -> None:
    """Load by mmap, the default, and compute one answer."""
    model = llama_cpp.Llama(file, embedding=kind == "embed", n_ctx=int(n_ctx), verbose=False)
    print("loaded", flush=True)
    if kind == "embed":
        model.embed("A man is eating food.")
    else:
        model.create_completion("The capital of France is", max_tokens=1, temperature=0)
    print("answered", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
