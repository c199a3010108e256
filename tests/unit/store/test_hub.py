"""The real huggingface-hub library against a loopback server that answers as the hub does."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edged.errors import PullError
from edged.store import hub
from edged.store.catalog import Artifact, Hub
from edged.store.job import Job, Wanted
from tests.unit.store.samples import Recorder, sha256, wanted_file

_CONTENT = bytes(range(256)) * 400
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SOURCE = Hub(repo="someone/tiny", revision=_COMMIT)
JobFor = Callable[[Wanted], Job]


@contextlib.contextmanager
def _hub(content: bytes, asked: list[str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            asked.append(self.path)
            self._head()
            self.wfile.write(content)

        def _head(self) -> None:
            self.send_response(200)
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{sha256(content)}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def own_hub_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_files_come_from_the_repository_at_its_revision(
    job_for: JobFor, progress: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = Artifact(name="1_Pooling/model", size_bytes=len(_CONTENT), sha256=sha256(_CONTENT))
    job = job_for(Wanted(id="tiny", origin="tiny", files=(artifact,), sources=()))
    asked: list[str] = []
    with _hub(_CONTENT, asked) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        hub.fetch(_SOURCE, job)
    assert job.work.file("1_Pooling/model").read_bytes() == _CONTENT
    assert asked == [f"/someone/tiny/resolve/{_COMMIT}/1_Pooling/model"]
    assert progress.steps[-1][0] == "tiny: someone/tiny from the hub"


def test_another_size_is_refused_before_the_download(
    job_for: JobFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with _hub(_CONTENT + b"more", asked) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(PullError, match=r"102404 bytes there, expected 102400: not downloaded"):
            hub.fetch(_SOURCE, job_for(wanted_file(_CONTENT)))
    assert asked == []


def test_another_hash_is_refused(job_for: JobFor, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_for(wanted_file(_CONTENT))
    with _hub(_CONTENT[::-1], []) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(PullError) as caught:
            hub.fetch(_SOURCE, job)
    assert sha256(_CONTENT) in str(caught.value)
    assert not job.work.file("model").exists()


def test_an_unreachable_hub_says_so(job_for: JobFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PullError, match="refused"):
        hub.fetch(_SOURCE, job_for(wanted_file(_CONTENT)))


def test_offline_mode_is_respected(job_for: JobFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PullError, match=r"(?i)offline"):
        hub.fetch(_SOURCE, job_for(wanted_file(_CONTENT)))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Traceback (most recent call last):\n  File x\nhttpx.ConnectError: no route\n", "no route"),
        (
            "ValueError: inner\n\nDuring handling:\n  File\nhub.errors.GatedRepoError: 401\nLog in first.\n",
            "401 Log in first.",
        ),
        (
            "a.gguf has 3 bytes there, expected 4: not downloaded\n",
            "a.gguf has 3 bytes there, expected 4: not downloaded",
        ),
        ("httpx2.ReadTimeout: timed out\n", "timed out"),
        ("", "huggingface-hub failed without a word"),
    ],
)
def test_the_reason_is_the_last_exception(output: str, reason: str) -> None:
    assert hub._reason(output) == reason
