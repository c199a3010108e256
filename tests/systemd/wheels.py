"""What `install.sh --wheels` needs on a machine without a network: made once, kept in the user's cache."""

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path


def cache() -> Path:
    """Where install.sh keeps llama.cpp as it was built for this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged"


def make_wheels(repository: Path) -> Path:
    """A folder with the wheels of everything that edged and its own build need, llama.cpp included."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted = [each for each in wanted if not each.startswith("llama-cpp-python")] + [str(_llama())]
    stamp = hashlib.sha256("\n".join([*wanted, sys.version]).encode()).hexdigest()[:16]
    folder = cache() / "tests" / f"wheels-{stamp}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            built = Path(part, "wheels")
            made = subprocess.run(
                [sys.executable, "-m", "pip", "wheel", "-q", "--wheel-dir", str(built), *wanted],
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
            built.rename(folder)
    return folder


def _llama() -> Path:
    """The wheel that install.sh built last: the one in use here."""
    built = sorted(
        (cache() / "wheels").glob("*/llama_cpp_python-*.whl"), key=lambda path: path.stat().st_mtime
    )
    assert built, f"no llama.cpp in {cache()}/wheels: ./install.sh test puts it there"
    return built[-1]
