import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import https
from edged.store.incoming import Incoming
from edged.store.job import Job, Url, Wanted
from tests.unit.store.samples import Recorder, sha256, wanted_file
from tests.unit.store.web import Site, serving

_CONTENT = bytes(range(256)) * 40
JobFor = Callable[[Wanted], Job]


@pytest.fixture(autouse=True)
def every_byte_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "_WORTH_RETRYING_BYTES", 1)


def _fetch(site: Site, job: Job) -> bytes:
    https.fetch(Url(site.address, schemes=("http",)), job)
    return job.work.file("model").read_bytes()


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_arrives_whole(job_for: JobFor, progress: Recorder, pinned: bool) -> None:
    with serving(Site(_CONTENT)) as site:
        assert _fetch(site, job_for(wanted_file(_CONTENT, pinned=pinned))) == _CONTENT
    assert progress.steps[-1] == ("tiny: 127.0.0.1", len(_CONTENT), len(_CONTENT))


@pytest.mark.parametrize("cut", [1, 4096, len(_CONTENT) - 1])
def test_a_broken_connection_is_taken_up_where_it_broke(job_for: JobFor, cut: int) -> None:
    with serving(Site(_CONTENT, cuts=[cut])) as site:
        assert _fetch(site, job_for(wanted_file(_CONTENT, pinned=False))) == _CONTENT
    assert [headers.get("Range") for headers in site.seen] == [None, f"bytes={cut}-"]
    assert site.seen[1]["If-Range"] == '"v1"'


def test_a_connection_that_brings_nothing_is_not_tried_for_ever(job_for: JobFor) -> None:
    job = job_for(wanted_file(_CONTENT))
    with serving(Site(_CONTENT, cuts=[100, 0, 0, 0])) as site:
        with pytest.raises(PullError, match=r"ended after 100 of 10240 bytes; pull again"):
            _fetch(site, job)
        assert len(site.seen) == 2
        site.cuts.clear()
        assert _fetch(site, job) == _CONTENT
    assert site.seen[-1]["Range"] == "bytes=100-"


def test_a_file_that_changed_on_the_server_is_fetched_anew(job_for: JobFor) -> None:
    job = job_for(wanted_file(_CONTENT, pinned=False))
    with serving(Site(_CONTENT, cuts=[100, 0])) as site:
        with pytest.raises(PullError):
            _fetch(site, job)
        site.content, site.etag = _CONTENT[::-1], '"v2"'
        assert _fetch(site, job) == _CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_resumed(job_for: JobFor, etag: str) -> None:
    with serving(Site(_CONTENT, etag=etag, cuts=[100])) as site:
        job = job_for(wanted_file(_CONTENT))
        with pytest.raises(PullError, match="pull again"):
            _fetch(site, job)
        assert _fetch(site, job) == _CONTENT
    assert all("Range" not in headers for headers in site.seen)


def test_a_server_without_ranges_starts_from_the_first_byte(job_for: JobFor) -> None:
    with serving(Site(_CONTENT, ranges=False, cuts=[100])) as site:
        assert _fetch(site, job_for(wanted_file(_CONTENT))) == _CONTENT
    assert len(site.seen) == 2


@pytest.mark.parametrize("content_range", ["bytes 5-10239/10240", "bytes 100-10239/99999", "nonsense", ""])
def test_another_range_than_asked_for_starts_anew(job_for: JobFor, content_range: str) -> None:
    job = job_for(wanted_file(_CONTENT))
    with serving(Site(_CONTENT, cuts=[100, 0])) as site, pytest.raises(PullError):
        _fetch(site, job)
    with (
        serving(
            Site(_CONTENT, ranges=False, status=206, extra_headers={"Content-Range": content_range})
        ) as site,
        pytest.raises(PullError, match="answered 206"),
    ):
        _fetch(site, job)
    assert [headers.get("Range") for headers in site.seen] == ["bytes=100-", None]
    assert not job.work.part("model").exists()


def test_416_starts_anew(job_for: JobFor, progress: Recorder) -> None:
    job = job_for(wanted_file(_CONTENT))
    with serving(Site(_CONTENT, cuts=[100, 0])) as site:
        with pytest.raises(PullError):
            _fetch(site, job)
        site.status, site.ranges = 416, False
        with pytest.raises(PullError, match="answered 416"):
            _fetch(site, job)
    assert any("has changed, starting anew" in line for line in progress.lines)
    assert "Range" not in site.seen[-1]


def test_damaged_state_starts_anew(job_for: JobFor) -> None:
    for damage in (b"", b"{", b'{"validator": 1}', b'{"validator":"","total_bytes":-1,"synced_bytes":99999}'):
        job = job_for(wanted_file(_CONTENT))
        with serving(Site(_CONTENT, cuts=[100, 0])) as site:
            with pytest.raises(PullError):
                _fetch(site, job)
            job.work.part("model").with_suffix(".json").write_bytes(damage)
            site.cuts.clear()
            assert _fetch(site, job) == _CONTENT
            job.work.file("model").unlink()


def test_a_damaged_part_of_a_pinned_file_is_found_out(job_for: JobFor, progress: Recorder) -> None:
    job = job_for(wanted_file(_CONTENT))
    with serving(Site(_CONTENT, cuts=[100, 0])) as site:
        with pytest.raises(PullError):
            _fetch(site, job)
        job.work.part("model").write_bytes(b"\0" * 100)
        site.cuts.clear()
        assert _fetch(site, job) == _CONTENT
    assert any("is damaged, starting anew" in line for line in progress.lines)


def test_a_whole_part_needs_no_network(job_for: JobFor) -> None:
    """The power went between the last byte and the rename."""
    job = job_for(wanted_file(_CONTENT, pinned=False))
    state = f'{{"validator":"\\"v1\\"","total_bytes":{len(_CONTENT)},"synced_bytes":{len(_CONTENT)}}}'
    part = job.work.part("model")
    part.parent.mkdir()
    part.write_bytes(_CONTENT)
    part.with_suffix(".json").write_text(state)
    https.fetch(Url("http://127.0.0.1:1/model.gguf", schemes=("http",)), job)
    assert job.work.file("model").read_bytes() == _CONTENT


def test_a_wrong_length_is_refused_before_the_download(job_for: JobFor) -> None:
    with serving(Site(_CONTENT + b"more")) as site, pytest.raises(PullError, match="10244 bytes there"):
        _fetch(site, job_for(wanted_file(_CONTENT)))


def test_what_does_not_fit_is_refused_before_the_download(job_for: JobFor) -> None:
    def too_large(size_bytes: int) -> None:
        raise PullError(f"{size_bytes} is too much")

    job = dataclasses.replace(job_for(wanted_file(_CONTENT, pinned=False)), check_size=too_large)
    with serving(Site(_CONTENT)) as site, pytest.raises(PullError, match="10240 is too much"):
        _fetch(site, job)
    assert not job.work.part("model").exists()


def test_a_length_must_be_known_or_the_hash(job_for: JobFor) -> None:
    with serving(Site(_CONTENT, length=False)) as site:
        with pytest.raises(PullError, match="--sha256"):
            _fetch(site, job_for(wanted_file(_CONTENT, pinned=False)))
        assert _fetch(site, job_for(wanted_file(_CONTENT))) == _CONTENT


def test_an_encoded_answer_is_refused(job_for: JobFor) -> None:
    with (
        serving(Site(_CONTENT, extra_headers={"Content-Encoding": "gzip"})) as site,
        pytest.raises(PullError, match="encoding"),
    ):
        _fetch(site, job_for(wanted_file(_CONTENT)))


def test_another_hash_than_promised_is_refused(job_for: JobFor) -> None:
    with serving(Site(_CONTENT[::-1])) as site, pytest.raises(PullError) as caught:
        _fetch(site, job_for(wanted_file(_CONTENT)))
    assert sha256(_CONTENT) in str(caught.value)
    assert sha256(_CONTENT[::-1]) in str(caught.value)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_errors_of_the_server_are_named(job_for: JobFor, status: int, words: str) -> None:
    with serving(Site(b"", status=status)) as site, pytest.raises(PullError, match=words):
        _fetch(site, job_for(wanted_file(_CONTENT)))


def test_an_unreachable_server_is_named(job_for: JobFor) -> None:
    with pytest.raises(PullError, match=r"cannot reach 127\.0\.0\.1: .*refused"):
        https.fetch(Url("http://127.0.0.1:1/m.gguf", schemes=("http",)), job_for(wanted_file(_CONTENT)))


def test_redirects_are_followed_within_the_open_schemes(job_for: JobFor) -> None:
    with serving(Site(_CONTENT)) as site, serving(Site(b"", redirect=site.address)) as first:
        assert _fetch(first, job_for(wanted_file(_CONTENT))) == _CONTENT


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/m.gguf", "file:///etc/passwd", "https://127.0.0.1:1/m"])
def test_redirects_out_of_the_open_schemes_are_refused(job_for: JobFor, place: str) -> None:
    with (
        serving(Site(b"", redirect=place)) as site,
        pytest.raises(PullError, match=r"redirects to|not allowed"),
    ):
        _fetch(site, job_for(wanted_file(_CONTENT)))


def test_plain_http_is_closed_to_users(job_for: JobFor) -> None:
    with serving(Site(_CONTENT)) as site, pytest.raises(PullError, match="cannot reach"):
        https.fetch(Url(site.address), job_for(wanted_file(_CONTENT)))
    assert site.seen == []


def test_progress_is_made_durable_now_and_then(job_for: JobFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "SYNC_EVERY_BYTES", 1000)
    monkeypatch.setattr(https, "_CHUNK_BYTES", 512)
    durable: list[int] = []
    remember = https._Download._remember

    def noted(download: https._Download, incoming: Incoming) -> int:
        durable.append(remember(download, incoming))
        return durable[-1]

    monkeypatch.setattr(https._Download, "_remember", noted)
    with serving(Site(_CONTENT)) as site:
        assert _fetch(site, job_for(wanted_file(_CONTENT))) == _CONTENT
    assert len(durable) == pytest.approx(len(_CONTENT) / 1000, abs=3)
    assert durable == sorted(durable)


def test_a_pull_that_was_stopped_keeps_what_it_has(job_for: JobFor, tmp_path: Path) -> None:
    job = job_for(wanted_file(_CONTENT))

    class Impatient(Recorder):
        def advance(self, *_: object) -> None:
            raise KeyboardInterrupt

    with serving(Site(_CONTENT)) as site:
        with pytest.raises(KeyboardInterrupt):
            _fetch(site, dataclasses.replace(job, progress=Impatient()))
        kept = job.work.part("model").stat().st_size
        assert kept > 0
        assert _fetch(site, job) == _CONTENT
    assert site.seen[-1].get("Range") == (f"bytes={kept}-" if kept < len(_CONTENT) else None)
