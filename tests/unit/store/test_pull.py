import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.gguf.header import read_header
from edged.store import pull as pulling
from edged.store import receipt, room
from edged.store.catalog import Artifact, ConvertTo, Variant
from edged.store.job import LocalFile, Source, Url, Wanted
from edged.store.pull import Place, pull
from edged.store.work import open_work
from tests.unit.store.power import check_every_power_cut
from tests.unit.store.samples import Recorder, gguf_bytes, leftovers, sha256, wanted_file
from tests.unit.store.web import Site, serving


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf_bytes(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "models")


@pytest.fixture
def source(tmp_path: Path, model: bytes) -> LocalFile:
    (tmp_path / "source.gguf").write_bytes(model)
    return LocalFile(tmp_path / "source.gguf")


def test_a_model_is_put_in_place_with_its_receipt(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    pulled = pull(wanted_file(model, source), place, progress)
    assert pulled.fetched
    assert pulled.path == place.model_dir / "tiny.gguf"
    assert pulled.path.read_bytes() == model
    assert pulled.path.stat().st_mode & 0o777 == 0o644
    known = receipt.read(pulled.path)
    assert known is not None
    assert (known.sha256, known.origin, known.source) == (sha256(model), "tiny", str(source.path))
    assert not receipt.changed_since_pull(pulled.path)
    assert leftovers(place.model_dir) == []


def test_pulling_again_does_nothing_and_needs_no_source(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    first = pull(wanted_file(model, source), place, progress)
    before = first.path.stat()
    source.path.unlink()
    again = pull(wanted_file(model, source), place, progress)
    assert not again.fetched
    assert again.path.stat().st_mtime_ns == before.st_mtime_ns
    assert again.path.stat().st_ino == before.st_ino


def test_a_damaged_model_is_repaired(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    path = pull(wanted_file(model, source), place, progress).path
    facts = path.stat()
    path.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert pull(wanted_file(model, source), place, progress).fetched
    assert path.read_bytes() == model
    assert any("has changed since it was pulled" in line for line in progress.lines)


def test_without_verifying_only_size_and_time_are_looked_at(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    trusting = dataclasses.replace(place, verify=False)
    path = pull(wanted_file(model, source), trusting, progress).path
    facts = path.stat()
    path.write_bytes(b"\0" * len(model))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not pull(wanted_file(model, source), trusting, progress).fetched
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert pull(wanted_file(model, source), trusting, progress).fetched
    assert path.read_bytes() == model


def test_a_file_that_is_not_ours_is_left_alone_without_force(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    place.model_dir.mkdir()
    (place.model_dir / "tiny.gguf").write_bytes(b"somebody's own")
    with pytest.raises(PullError, match=r"was not pulled by edged: choose another id with --name"):
        pull(wanted_file(model, source), place, progress)
    assert (place.model_dir / "tiny.gguf").read_bytes() == b"somebody's own"
    assert pull(wanted_file(model, source), dataclasses.replace(place, force=True), progress).fetched


def test_two_origins_do_not_share_a_name(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    pull(wanted_file(model, source), place, progress)
    other = dataclasses.replace(wanted_file(model, source), origin="https://example.org/tiny.gguf")
    with pytest.raises(PullError, match="was pulled from tiny"):
        pull(other, place, progress)


def test_the_right_file_copied_by_hand_is_adopted(place: Place, model: bytes, progress: Recorder) -> None:
    place.model_dir.mkdir()
    (place.model_dir / "tiny.gguf").write_bytes(model)
    assert not pull(wanted_file(model, LocalFile(Path("/absent"))), place, progress).fetched
    assert receipt.verify(place.model_dir / "tiny.gguf").status == "ok"


def test_a_new_version_in_the_catalog_replaces_the_old(
    place: Place, source: LocalFile, model: bytes, progress: Recorder, tmp_path: Path
) -> None:
    pull(wanted_file(model, source), place, progress)
    newer = gguf_bytes(tmp_path, seed=2)
    source.path.write_bytes(newer)
    assert pull(wanted_file(newer, source), place, progress).path.read_bytes() == newer


def test_a_changed_local_file_is_copied_again(
    place: Place, source: LocalFile, model: bytes, progress: Recorder, tmp_path: Path
) -> None:
    wanted = wanted_file(model, source, pinned=False)
    assert pull(wanted, place, progress).fetched
    assert not pull(wanted, place, progress).fetched
    source.path.write_bytes(gguf_bytes(tmp_path, seed=2))
    assert pull(wanted, place, progress).fetched


def test_sources_are_tried_in_order_until_one_delivers(
    place: Place, source: LocalFile, model: bytes, progress: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "wrong.gguf").write_bytes(model[::-1])
    bad = LocalFile(tmp_path / "wrong.gguf")
    absent = LocalFile(tmp_path / "absent.gguf")
    assert pull(wanted_file(model, absent, bad, source), place, progress).source == str(source.path)
    assert len([line for line in progress.lines if "; trying " in line]) == 2


def test_when_none_delivers_each_is_named_with_its_reason(
    place: Place, model: bytes, progress: Recorder
) -> None:
    sources: tuple[Source, ...] = (
        Url("http://127.0.0.1:1/a.gguf?token=secret", schemes=("http",)),
        Url("http://127.0.0.1:1/b.gguf", schemes=("http",)),
    )
    with pytest.raises(PullError) as caught:
        pull(wanted_file(model, *sources), place, progress)
    lines = str(caught.value).splitlines()
    assert lines[0] == "tiny could not be pulled"
    assert lines[1].startswith("http://127.0.0.1:1/a.gguf: cannot reach")
    assert lines[2].startswith("http://127.0.0.1:1/b.gguf: cannot reach")
    assert "pull again" in lines[3]
    assert "secret" not in str(caught.value)


def test_too_little_memory_is_said_before_anything_is_made(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    wanted = dataclasses.replace(wanted_file(model, source), memory_bytes=500_000_000)
    small = dataclasses.replace(place, memory_bytes=300_000_000)
    with pytest.raises(PullError, match=r"needs about 0\.5 GB of memory, this machine has 0\.3 GB"):
        pull(wanted, small, progress)
    assert not place.model_dir.exists()
    assert pull(wanted, dataclasses.replace(small, force=True), progress).fetched


def test_a_size_known_only_from_the_server_is_checked_before_the_body(
    place: Place, model: bytes, progress: Recorder
) -> None:
    with serving(Site(model)) as site:
        wanted = wanted_file(model, Url(site.address, schemes=("http",)), pinned=False)
        with pytest.raises(PullError, match="of memory, this machine has"):
            pull(wanted, dataclasses.replace(place, memory_bytes=1000), progress)
        assert progress.steps == []
        assert pull(wanted, place, progress).fetched


def test_too_little_disk_is_said_before_the_download(
    place: Place, source: LocalFile, model: bytes, progress: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_DISK_SLACK_BYTES", 10**18)
    with pytest.raises(PullError, match="of disk"):
        pull(wanted_file(model, source), place, progress)
    assert progress.steps == []


def test_what_is_no_model_never_gets_a_name(
    place: Place, source: LocalFile, model: bytes, progress: Recorder
) -> None:
    for content in (b"", b"GGUF", b"<html>not found</html>", model[:-1], model[:100]):
        source.path.write_bytes(content)
        with pytest.raises(PullError, match="was thrown away"):
            pull(wanted_file(content, source, pinned=False), place, progress)
        assert not (place.model_dir / "tiny.gguf").exists()


def test_a_folder_that_cannot_be_written_is_named(
    source: LocalFile, model: bytes, progress: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PullError, match=r"file/models"):
        pull(wanted_file(model, source), Place(tmp_path / "file" / "models"), progress)


def test_permission_trouble_says_who_should_pull() -> None:
    error = PermissionError(13, "Permission denied", "/var/lib/edged/models")
    assert "pull as the user who owns" in pulling._disk_trouble(error, Path("/var/lib/edged/models"))
    full = OSError(28, "No space left on device")
    assert "the disk is full" in pulling._disk_trouble(full, Path("/models"))


def _convertible(tmp_path: Path) -> Wanted:
    (tmp_path / "raw").write_bytes(b"raw weights")
    artifact = Artifact(name="model", size_bytes=11, sha256=sha256(b"raw weights"))
    return Wanted(
        id="tiny",
        origin="tiny",
        files=(artifact,),
        sources=(LocalFile(tmp_path / "raw"),),
        convert_to="q8_0",
        weights="q8_0",
        size_bytes=1000,
    )


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """In place of the converter (tested on its own): a model that depends on the weights asked for."""
    done: list[str] = []

    def convert(folder: Path, target: Path, weights: str, progress: object) -> None:
        assert (folder / "model").read_bytes() == b"raw weights"
        target.write_bytes(gguf_bytes(tmp_path, seed=len(weights)))
        done.append(weights)

    monkeypatch.setattr("edged.gguf.convert.convert", convert)
    return done


def test_weights_that_were_chosen_replace_others(
    place: Place, progress: Recorder, tmp_path: Path, conversions: list[str]
) -> None:
    wanted = _convertible(tmp_path)
    assert pull(wanted, place, progress).weights == "q8_0"
    bf16 = dataclasses.replace(wanted, convert_to="bf16", weights="bf16", weights_chosen=True)
    assert pull(bf16, place, progress).weights == "bf16"
    kept = pull(wanted, place, progress)
    assert (kept.fetched, kept.weights) == (False, "bf16")
    assert conversions == ["q8_0", "bf16"]


def test_where_nobody_chose_the_format_that_is_best_here_is_installed(
    place: Place, progress: Recorder, tmp_path: Path, conversions: list[str]
) -> None:
    def choose(default: ConvertTo, files: Mapping[ConvertTo, Path]) -> tuple[ConvertTo, str]:
        assert default == "q8_0"
        assert all(path.read_bytes() for path in files.values())
        assert list(files) == ["q8_0", "bf16"], "f16 needs more memory than there is"
        return "bf16", "weights bf16: better"

    others = (
        Variant(weights="f16", size_bytes=1000, memory_bytes=2 << 30),
        Variant(weights="bf16", size_bytes=1000, memory_bytes=500),
    )
    wanted = dataclasses.replace(_convertible(tmp_path), alternatives=others)
    here = dataclasses.replace(place, memory_bytes=1 << 30, choose=choose)
    pulled = pull(wanted, here, progress)
    known = receipt.read(pulled.path)
    assert known is not None
    assert (pulled.weights, known.weights, known.weights_reason) == ("bf16", "bf16", "weights bf16: better")
    assert pulled.path.read_bytes() == gguf_bytes(tmp_path, seed=len("bf16"))
    assert leftovers(place.model_dir) == []
    assert not pull(wanted, here, progress).fetched, "it is not chosen again"


def test_a_failed_conversion_does_not_fetch_again(
    place: Place, progress: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edged.errors import ModelFileError

    def refuse(*_: object) -> None:
        raise ModelFileError("no BERT")

    wanted = _convertible(tmp_path)
    monkeypatch.setattr("edged.gguf.convert.convert", refuse)
    with pytest.raises(PullError, match="tiny: cannot be converted: no BERT"):
        pull(wanted, place, progress)
    (tmp_path / "raw").unlink()
    monkeypatch.setattr(
        "edged.gguf.convert.convert", lambda _f, target, *_: target.write_bytes(gguf_bytes(tmp_path))
    )
    assert pull(wanted, place, progress).source == "an earlier pull"


def test_damaged_files_of_an_earlier_pull_are_fetched_again(
    place: Place, progress: Recorder, tmp_path: Path, conversions: list[str]
) -> None:
    wanted = _convertible(tmp_path)
    earlier = open_work(place.model_dir, "tiny", pulling._about(wanted))
    earlier.files.mkdir()
    earlier.file("model").write_bytes(b"raw w\0\0\0\0\0\0")
    assert pull(wanted, place, progress).source == str(tmp_path / "raw")


# ---- power cuts ----


def test_killed_at_any_file_operation_the_next_pull_finishes(
    place: Place, source: LocalFile, model: bytes
) -> None:
    assert check_every_power_cut(wanted_file(model, source), place, before=None, after=model) > 20


def test_killed_while_replacing_a_model_the_old_or_the_new_one_is_whole(
    place: Place, source: LocalFile, model: bytes, progress: Recorder, tmp_path: Path
) -> None:
    pull(wanted_file(model, source), place, progress)
    newer = gguf_bytes(tmp_path, seed=2)
    source.path.write_bytes(newer)
    assert check_every_power_cut(wanted_file(newer, source), place, before=model, after=newer) > 20


def test_killed_while_converting_the_next_pull_finishes(
    place: Place, tmp_path: Path, conversions: list[str]
) -> None:
    result = gguf_bytes(tmp_path, seed=4)
    assert check_every_power_cut(_convertible(tmp_path), place, before=None, after=result) > 20


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_killed_in_mid_download_the_next_pull_goes_on(
    place: Place, model: bytes, progress: Recorder, share: float
) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from edged.store import https\n"
        "from edged.store.job import Url\n"
        "from edged.store.pull import Place, pull\n"
        "from tests.unit.store.samples import wanted_file\n"
        "https.SYNC_EVERY_BYTES = 4096; https._CHUNK_BYTES = 1000\n"
        "class Deadly:\n"
        "    def say(self, text): ...\n"
        "    def advance(self, label, done, total):\n"
        "        if done >= int(sys.argv[3]): os.kill(os.getpid(), 9)\n"
        "model = Path(sys.argv[4]).read_bytes()\n"
        "pull(wanted_file(model, Url(sys.argv[1], schemes=('http',))), Place(Path(sys.argv[2])), Deadly())\n"
    )
    whole = place.model_dir.parent / "whole"
    whole.write_bytes(model)
    with serving(Site(model)) as site:
        arguments = [site.address, str(place.model_dir), str(int(len(model) * share)), str(whole)]
        run = subprocess.run([sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[3])
        assert run.returncode == -9
        assert not (place.model_dir / "tiny.gguf").exists()
        assert list(place.model_dir.rglob("*.gguf")) == []
        pulled = pull(wanted_file(model, Url(site.address, schemes=("http",))), place, progress)
    assert pulled.path.read_bytes() == model
    assert read_header(pulled.path).architecture == "llama"
    resumed = site.seen[-1].get("Range")
    assert resumed is None if share < 0.01 else resumed is not None


@pytest.mark.parametrize("damage", ["truncate", "zero the end", "garbage", "no about"])
def test_whatever_happened_to_the_partial_file_the_next_pull_is_right(
    place: Place, model: bytes, progress: Recorder, damage: str
) -> None:
    with serving(Site(model, cuts=[len(model) // 2, 0])) as site:
        wanted = wanted_file(model, Url(site.address, schemes=("http",)))
        with pytest.raises(PullError):
            pull(wanted, place, progress)
        site.cuts.clear()
        _damage(place.model_dir / ".partial" / "tiny", damage)
        pulled = pull(wanted, place, progress)
    assert pulled.path.read_bytes() == model


def _damage(folder: Path, how: str) -> None:
    part = folder / "parts" / "model.part"
    size = part.stat().st_size
    if how == "truncate":
        os.truncate(part, size // 3)
    elif how == "zero the end":
        os.truncate(part, size // 2)
        os.truncate(part, size)
    elif how == "garbage":
        part.write_bytes(b"\xff" * size)
    else:
        (folder / "about.json").unlink()
