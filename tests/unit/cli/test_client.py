"""Which edged is meant, and what is said when it does not answer."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.cli.client import Client, connect, model_path
from edged.config.keys import hashed_line
from edged.errors import EdgedError
from edged.service.bind import bind
from edged.service.certificate import load
from edged.service.control import Control
from edged.service.server import Limits, Server
from tests import certificates
from tests.certificates import Files


@pytest.fixture(name="runtime")
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory, in which an edged says that it listens on port 4711."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.delenv("EDGED_CONFIG", raising=False)
    monkeypatch.delenv("EDGED_API_KEY", raising=False)
    control = Control({"url": lambda: "http://0.0.0.0:4711"}, {"key": lambda _: "the-administrators"})
    control.open()
    yield tmp_path
    control.close()


def written(folder: Path, text: str) -> Path:
    path = folder / "edged.yaml"
    path.write_text(text)
    return path


def key(client: Client) -> str | None:
    return client._headers.get("Authorization", "").removeprefix("Bearer ") or None


def where(client: Client) -> str:
    return client.url


def test_a_named_file_says_where(runtime: Path) -> None:
    assert where(connect(written(runtime, "server: {port: 9000}"), None)) == "http://127.0.0.1:9000"
    everywhere = 'server: {host: "::", port: 9000}\naccess: {mode: lan}'
    assert where(connect(written(runtime, everywhere), None)) == "http://[::1]:9000"


def test_the_running_one_says_where_it_listens(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert where(connect(written(runtime, "server: {port: 0}"), None)) == "http://127.0.0.1:4711"
    monkeypatch.setattr("edged.config.load.SYSTEM_FILE", written(runtime, "server: {port: 9000}"))
    assert where(connect(None, None)) == "http://127.0.0.1:4711"


def test_without_one_that_says_so_the_configured_address_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("EDGED_CONFIG", raising=False)
    monkeypatch.setattr("edged.service.control.SYSTEM_FOLDER", tmp_path)
    monkeypatch.setattr("edged.config.load.SYSTEM_FILE", written(tmp_path, "server: {port: 9000}"))
    assert where(connect(None, None)) == "http://127.0.0.1:9000"
    with pytest.raises(EdgedError, match="no running edged can be asked"):
        connect(written(tmp_path, "server: {port: 0}"), None)


def test_without_any_configuration_edged_listens_where_it_does_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("EDGED_CONFIG", raising=False)
    monkeypatch.setattr("edged.service.control.SYSTEM_FOLDER", tmp_path)
    monkeypatch.setattr("edged.config.load.SYSTEM_FILE", tmp_path / "absent.yaml")
    assert where(connect(None, None)) == "http://127.0.0.1:8080"


def test_the_edged_of_this_machine_gives_its_administrator_a_key(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "user"))
    control = Control({"url": lambda: "http://127.0.0.1:4712"}, {"key": lambda _: "the-administrators"})
    control.open()
    try:
        hashed = f"access: {{api_keys: [{hashed_line('tablet', ['use'], 'any')}]}}"
        its = written(runtime, f"server: {{port: 4712}}\n{hashed}")
        assert key(connect(its, None)) == "the-administrators"
        others = written(runtime, f"server: {{port: 9000}}\n{hashed}")
        assert key(connect(others, None)) is None
        others = written(runtime, "server: {port: 9000}\naccess: {api_keys: [kept-in-plain-text]}")
        assert key(connect(others, None)) == "kept-in-plain-text"
        monkeypatch.setenv("EDGED_API_KEY", "named")
        assert key(connect(its, None)) == "named"
    finally:
        control.close()


def test_an_address_needs_no_file(runtime: Path) -> None:
    assert where(connect(None, "192.168.1.7:8080")) == "http://192.168.1.7:8080"
    assert where(connect(None, "https://box.local")) == "https://box.local:443"
    for wrong in ("ftp://box:1", "http://", "", "http://box:port"):
        with pytest.raises(EdgedError, match="expected an address such as"):
            connect(None, wrong)


def test_a_closed_port_is_said_with_what_to_do() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unheard.getsockname()[1]}")
        with pytest.raises(EdgedError, match=r"no edged answers at .*is it running\?"):
            client.get("/livez")


def test_a_models_name_cannot_change_the_path() -> None:
    assert model_path("a/../b", "load") == "/edged/v1/models/a%2F..%2Fb/load"
    assert model_path("m") == "/edged/v1/models/m"


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(name="secured")
def _secured(files: Files) -> Iterator[Server]:
    limits = Limits(
        max_requests=2,
        max_connections=20,
        max_body_bytes=1000,
        header_timeout_s=20,
        idle_timeout_s=20,
        answer_timeout_s=600,
    )
    server = Server(bind("127.0.0.1", 0), limits)
    server.set_tls(load(*files).secure)
    server.start()
    yield server
    server.close(timeout_s=0.1)


def test_the_certificate_of_the_configuration_is_trusted_and_no_other(
    secured: Server, files: Files, tmp_path: Path
) -> None:
    text = 'server: {{port: {}, tls_certificate: "{}", tls_key: "{}"}}'
    config = written(tmp_path, text.format(secured.port, *files))
    client = connect(config, None)
    assert where(client) == secured.url
    assert client.get("/livez") == {"status": "ok"}
    other = certificates.make(tmp_path)
    client = connect(written(tmp_path, text.format(secured.port, *other)), None)
    with pytest.raises(EdgedError, match=r"shows another certificate than .* `edged reload`"):
        client.get("/livez")
    other.certificate.write_text("nothing")
    with pytest.raises(EdgedError, match=r"^server\.tls_certificate: /"):
        client.get("/livez")


def test_for_an_address_this_machine_decides_whom_it_trusts(
    secured: Server, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://localhost:{secured.port}"
    with pytest.raises(EdgedError, match=r"is not trusted here \(self-signed certificate\); \$SSL_CERT_FILE"):
        connect(None, url).get("/livez")
    monkeypatch.setenv("SSL_CERT_FILE", str(files.certificate))
    assert connect(None, url).get("/livez") == {"status": "ok"}


def test_the_wrong_scheme_is_said(secured: Server) -> None:
    with pytest.raises(EdgedError, match="this port speaks HTTPS: write https://"):
        connect(None, f"http://127.0.0.1:{secured.port}").get("/livez")
    secured.set_tls(None)
    with pytest.raises(EdgedError, match="if it speaks plain HTTP, write http://"):
        connect(None, f"https://127.0.0.1:{secured.port}").get("/livez")
