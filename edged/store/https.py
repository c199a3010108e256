"""Plain files on web servers: https only, resumed where it broke off, every length checked."""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import IO

import msgspec

from edged import __version__
from edged.errors import PullError
from edged.store.incoming import Incoming, WrongContent
from edged.store.job import Job, Url
from edged.store.work import write_durably

_TIMEOUT_S = 30.0  # without a single byte
_CHUNK_BYTES = 1 << 18
# What was written after the last sync may be zeros after a power cut, so a resume starts at the last sync.
SYNC_EVERY_BYTES = 32 << 20
# A connection that broke off is tried again at once if it had brought at least this much.
_WORTH_RETRYING_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of the remote file a partial file is of, and how much of it is surely on disk."""

    validator: str
    total_bytes: int
    synced_bytes: int


class _BrokeOffError(Exception):
    """The connection ended before the file did."""


class _OtherFileError(Exception):
    """What the server has now does not go on from what was kept."""


def fetch(source: Url, job: Job) -> None:
    """Deliver the file. Raises PullError with the reason; what was received is kept for the next pull."""
    download = _Download(source, job)
    while True:
        before_bytes = download.kept_bytes()
        try:
            download.receive()
        except _OtherFileError:
            job.progress.say(f"{job.wanted.id}: the file on the server has changed, starting anew")
            download.forget()
        except WrongContent:
            if not before_bytes:
                raise
            job.progress.say(f"{job.wanted.id}: what an earlier pull had kept is damaged, starting anew")
            download.forget()
        except _BrokeOffError as broken:
            if download.kept_bytes() < before_bytes + _WORTH_RETRYING_BYTES:
                raise PullError(f"{broken}; pull again to go on from there") from broken
        else:
            return


class _Download:
    """One file on its way: its partial file and the state beside it."""

    def __init__(self, source: Url, job: Job) -> None:
        (self._artifact,) = job.wanted.files
        self._source = source
        self._job = job
        self._part = job.work.part(self._artifact.name)
        self._state_file = self._part.with_suffix(".json")
        self._part.parent.mkdir(exist_ok=True)

    def receive(self) -> None:
        """Fetch what is missing in one request. Raises _BrokeOffError, _OtherFileError or PullError."""
        state = self._state()
        kept_bytes = self.kept_bytes()
        if state and kept_bytes == state.total_bytes:
            with Incoming(self._part, self._artifact, kept_bytes) as incoming:
                self._deliver(incoming)
            return
        with _open(self._source, kept_bytes, state.validator if state else "") as response:
            if kept_bytes and state and response.status == HTTPStatus.PARTIAL_CONTENT:
                _check_continues(response, kept_bytes, state)
                total_bytes: int | None = state.total_bytes
            elif response.status == HTTPStatus.OK:
                total_bytes, kept_bytes = self._begin(response), 0
            else:
                raise PullError(f"the server answered {response.status} to a request for the file")
            with Incoming(self._part, self._artifact, kept_bytes) as incoming:
                self._copy(response, incoming, total_bytes)
                self._deliver(incoming)

    def kept_bytes(self) -> int:
        """How much an earlier try left that is surely right."""
        state = self._state()
        return min(state.synced_bytes, self._part.stat().st_size) if state and self._part.exists() else 0

    def forget(self) -> None:
        """Start from nothing."""
        self._part.unlink(missing_ok=True)
        self._state_file.unlink(missing_ok=True)

    def _state(self) -> _State | None:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return None

    def _begin(self, response: http.client.HTTPResponse) -> int | None:
        """The answer is the whole file: note which version it is; returns its size if the server says."""
        self.forget()
        total_bytes, expected_bytes = response.length, self._artifact.size_bytes
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise PullError("the server sends the file in an encoding that was not asked for")
        if total_bytes is None:
            if not response.chunked and self._artifact.sha256 is None:
                raise PullError("the server does not say how long the file is: give its hash with --sha256")
            return None
        if expected_bytes is not None and total_bytes != expected_bytes:
            raise PullError(f"the file has {total_bytes} bytes there, expected {expected_bytes}")
        self._job.check_size(total_bytes)
        state = _State(validator=_validator(response), total_bytes=total_bytes, synced_bytes=0)
        write_durably(self._state_file, msgspec.json.encode(state))
        return total_bytes

    def _copy(self, response: http.client.HTTPResponse, incoming: Incoming, total_bytes: int | None) -> None:
        label = f"{self._job.wanted.id}: {urllib.parse.urlsplit(self._source.address).hostname}"
        synced_bytes = incoming.received_bytes
        try:
            while chunk := _read(response, incoming.received_bytes, total_bytes):
                incoming.write(chunk)
                self._job.progress.advance(label, incoming.received_bytes, total_bytes)
                if incoming.received_bytes - synced_bytes >= SYNC_EVERY_BYTES:
                    synced_bytes = self._remember(incoming)
        except (_BrokeOffError, KeyboardInterrupt, SystemExit):
            self._remember(incoming)
            raise

    def _remember(self, incoming: Incoming) -> int:
        """Make what was received resumable; without a validator it never is."""
        synced_bytes = incoming.sync()
        state = self._state()
        if state and state.validator:
            state = msgspec.structs.replace(state, synced_bytes=synced_bytes)
            write_durably(self._state_file, msgspec.json.encode(state))
        return synced_bytes

    def _deliver(self, incoming: Incoming) -> None:
        incoming.deliver(self._job.work.file(self._artifact.name))
        self._state_file.unlink(missing_ok=True)


def _read(response: http.client.HTTPResponse, received_bytes: int, total_bytes: int | None) -> bytes:
    """The next bytes; nothing at the true end of the file. Raises _BrokeOffError at any other end."""
    try:
        chunk = response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokeOffError(f"the connection broke off after {received_bytes} bytes: {error}") from error
    if not chunk and total_bytes is not None and received_bytes < total_bytes:
        raise _BrokeOffError(f"the connection ended after {received_bytes} of {total_bytes} bytes")
    return chunk


def _validator(response: http.client.HTTPResponse) -> str:
    """What tells this version of the remote file from others; a weak ETag does not promise the same bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _check_continues(response: http.client.HTTPResponse, kept_bytes: int, state: _State) -> None:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if not match or (int(match[1]), int(match[2])) != (kept_bytes, state.total_bytes):
        raise _OtherFileError


def _open(source: Url, kept_bytes: int, validator: str) -> http.client.HTTPResponse:
    """Ask for the file, or for what is missing of it."""
    headers = {"User-Agent": f"edged/{__version__}", "Accept-Encoding": "identity"}
    if kept_bytes:
        headers |= {"Range": f"bytes={kept_bytes}-", "If-Range": validator}
    host = urllib.parse.urlsplit(source.address).hostname
    try:
        response = _opener(source.schemes).open(
            urllib.request.Request(source.address, headers=headers), timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and kept_bytes:
                raise _OtherFileError from error
            raise PullError(f"{host} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PullError(f"cannot reach {host}: {getattr(error, 'reason', error)}") from error
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _opener(schemes: tuple[str, ...]) -> urllib.request.OpenerDirector:
    """urllib with these schemes and nothing else (no file:, no ftp:), and the proxies of the environment."""
    opener = urllib.request.OpenerDirector()
    handlers = [
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(schemes),
    ]
    if "https" in schemes:
        handlers.append(urllib.request.HTTPSHandler())
    if "http" in schemes:
        handlers.append(urllib.request.HTTPHandler())
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to the schemes that were open in the first place."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request. Raises PullError where it would leave the open schemes."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in self._schemes:
            raise PullError(f"{req.host} redirects to {scheme}:, only https is allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
