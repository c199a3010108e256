"""llama.cpp's C functions without the Python library around them."""

import importlib.util
import sys


def bind_alone() -> None:
    """Make `from llama_cpp import llama_cpp` import only that, in this process.

    The package's own code offers a high-level API, for which it imports a template engine, a database and
    more: twice the time and 6 MB in every runner, for nothing that is used here.
    """
    spec = importlib.util.find_spec("llama_cpp") if "llama_cpp" not in sys.modules else None
    if spec is not None:
        sys.modules.setdefault("llama_cpp", importlib.util.module_from_spec(spec))
