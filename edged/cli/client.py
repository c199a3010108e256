"""HTTP to the edged that runs on this machine, for the verbs that ask it something."""

import contextlib
import http.client
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from edged.cli import connection
from edged.config import load
from edged.config.keys import parse_key
from edged.config.paths import tls_files
from edged.config.schema import Config
from edged.errors import EdgedError
from edged.service.control import ask

_CONNECT_S = 5.0
_URL_VARIABLE, _KEY_VARIABLE = "EDGED_URL", "EDGED_API_KEY"


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a verb that calls edged: `config_file` and `url`, for `connect`."""
    for option in (
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="The configuration file that edged runs by: its address and key are used.",
        ),
        click.option(
            "--url", envvar=_URL_VARIABLE, help=f"Where edged listens instead; the key is ${_KEY_VARIABLE}."
        ),
    ):
        command = option(command)
    return command


def connect(config_file: Path | None, url: str | None) -> "Client":
    """A client for the edged that is meant. Raises ConfigError, or EdgedError when it cannot be found.

    That of the service says itself where it listens, since systemd may hold another port than the file says.
    """
    given_key = os.environ.get(_KEY_VARIABLE)
    if url is not None:
        return Client(url, given_key)
    is_named = config_file is not None or "EDGED_CONFIG" in os.environ
    config = load.load_or_default(config_file)  # none where somebody tries edged in the foreground
    address = _configured(config) if is_named and config.server.port else _said(config)
    files = tls_files(config)
    return Client(address, given_key or _key(config, address), files[0] if files else None)


class Client:
    """One edged. Each call has a connection of its own."""

    def __init__(self, url: str, key: str | None = None, certificate: Path | None = None) -> None:
        """`certificate`: the file of the one that is trusted, see `connection.connect`."""
        self._address = connection.Address.of(url)
        self._certificate = certificate
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    @property
    def url(self) -> str:
        """Where it is asked."""
        return str(self._address)

    def get(self, path: str) -> Any:
        """The JSON at a path. Raises EdgedError with what edged says is wrong."""
        return self._call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON, or without a body, however long the answer takes. Raises as `get` does."""
        return self._call("POST", path, body)

    def events(self) -> Iterator[dict[str, Any]]:
        """What happens, until edged ends. Raises as `get` does."""
        for told in self._stream("GET", "/edged/v1/events"):
            if not isinstance(told, str):
                yield told

    def stream(self, path: str, body: Any) -> Generator[dict[str, Any] | str, None, None]:
        """The events of a streamed answer; a text is no part of it, but says how far it is.

        Whoever closes the iterator ends the answer. Raises as `get` does, also for what goes wrong within.
        """
        for told in self._stream("POST", path, body):
            if not isinstance(told, str) and "error" in told:
                raise EdgedError(_message(told) or "edged could not go on")
            yield told

    def _stream(self, method: str, path: str, body: Any = None) -> Iterator[dict[str, Any] | str]:
        response = self._open(method, path, body)
        try:
            for line in response:
                field, _, value = line.strip().partition(b":")
                if value.strip() == b"[DONE]":
                    return
                if field == b"data":
                    yield msgspec.json.decode(value, type=dict[str, Any])
                elif value and not field:  # a comment
                    yield value.decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise EdgedError(f"edged at {self.url} has broken off: {error}") from error
        finally:
            response.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = self._open(method, path, body)
        with response:
            return _json(response)

    def _open(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        """A response whose status says that all is well."""
        headers = {**self._headers, "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            opened = connection.connect(self._address, self._certificate, _CONNECT_S)
            opened.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            response = opened.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise EdgedError(
                f"no edged answers at {self.url} ({error}); is it running? --url names another address"
            ) from error
        if response.status < 400:
            return response
        with response:
            raise EdgedError(_problem(response))


def model_path(model: str, verb: str | None = None) -> str:
    """The path of a model, or of what is to be done to it."""
    return "/".join(filter(None, ["/edged/v1/models", quote(model, safe=""), verb]))


def _json(response: http.client.HTTPResponse) -> Any:
    try:
        return msgspec.json.decode(response.read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise EdgedError(f"what answers is no edged: {error}") from error


def _problem(response: http.client.HTTPResponse) -> str:
    """What an error answer says."""
    said = _json(response)
    message = _message(said)
    if response.status == 401:
        return f"{message}; ${_KEY_VARIABLE} names one, and on the machine itself root needs none"
    return message or f"edged answered {response.status}"


def _message(said: Any) -> str | None:
    """What an error says, in OpenAI's shape."""
    error = said.get("error") if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return None if message is None else str(message)


def _configured(config: Config) -> str:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    return f"{'https' if tls_files(config) else 'http'}://{host}:{config.server.port}"


def _key(config: Config, address: str) -> str | None:
    """What the running edged gives who administers this machine, else a key that is kept in plain text."""
    with contextlib.suppress(EdgedError):
        if ask("url").said == address and not (answer := ask("key")).failed:
            return answer.said
    return next(filter(None, (parse_key(line).text for line in config.access.api_keys)), None)


def _said(config: Config) -> str:
    """The address that a running edged gives, else the configured one. Raises EdgedError without either."""
    try:
        answer = ask("url")
    except EdgedError:
        if not config.server.port:
            raise
        return _configured(config)
    return _configured(config) if answer.failed else answer.said
