"""A real daemon that speaks TLS: clients, verbs, and a certificate that is renewed while it serves."""

import http.client
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests import certificates
from tests.certificates import Files
from tests.e2e.daemon import PATIENCE_S, Daemon

FILE = """\
server:
  tls_certificate: {files.certificate}
  tls_key: {files.key}
storage:
  model_dir: {models}
  state_dir: {state}
models:
  minilm:
    file: minilm.gguf
"""


class Box:
    """A configuration file, a certificate, and a daemon that runs by them."""

    def __init__(self, models: Path, folder: Path) -> None:
        self.files = certificates.make(folder)
        self.file = folder / "edged.yaml"
        self.file.write_text(FILE.format(files=self.files, models=models, state=folder / "state"))
        self._env = {**os.environ, "RUNTIME_DIRECTORY": str(folder / "run")}
        self.daemon = Daemon(self.file, env=self._env)
        self._env["EDGED_URL"] = f"https://localhost:{self.daemon.port}"
        self._env["SSL_CERT_FILE"] = str(self.files.certificate)

    def edged(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb, as a user runs it."""
        command = [sys.executable, "-m", "edged", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=self._env)

    def get(self, path: str, trusted: Files) -> int:
        """The status that a client gets."""
        context = ssl.create_default_context(cafile=str(trusted.certificate))
        connection = http.client.HTTPSConnection(
            "localhost", self.daemon.port, context=context, timeout=PATIENCE_S
        )
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def box(models: Path, tmp_path: Path) -> Iterator[Box]:
    box = Box(models, tmp_path)
    with box.daemon:
        yield box


def test_people_and_verbs_are_served_and_a_renewed_certificate_is_taken(box: Box, tmp_path: Path) -> None:
    assert f"listening on https://127.0.0.1:{box.daemon.port}" in box.daemon.output[0]
    context = ssl.create_default_context(cafile=str(box.files.certificate))
    with openai.DefaultHttpxClient(verify=context) as web:
        client = openai.OpenAI(
            base_url=f"https://localhost:{box.daemon.port}/v1",
            api_key="none",
            http_client=web,
            timeout=PATIENCE_S,
        )
        assert len(client.embeddings.create(model="minilm", input="hello").data[0].embedding) == 384
    shown = box.edged("ps", "--json")
    assert (shown.returncode, '"minilm"' in shown.stdout) == (0, True), shown.stderr

    old = box.files.certificate.read_text()
    (tmp_path / "new").mkdir()
    renewed = certificates.make(tmp_path / "new")
    renewed.certificate.replace(box.files.certificate)
    failed = box.edged("reload")
    assert failed.returncode == 1
    assert f"server.tls_key: {box.files.key}: is not the key of the first certificate" in failed.stderr
    (tmp_path / "old.pem").write_text(old)
    assert box.get("/livez", Files(tmp_path / "old.pem", box.files.key)) == 200  # it goes on with the old one

    renewed.key.replace(box.files.key)
    reloaded = box.edged("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    assert reloaded.stdout.startswith("reloaded: the certificate is for localhost, 127.0.0.1, valid until ")
    assert box.get("/livez", box.files) == 200


def test_files_that_cannot_be_used_end_the_start(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "edged.yaml"
    files = Files(tmp_path / "gone.pem", tmp_path / "gone.key")
    file.write_text(FILE.format(files=files, models=models, state=tmp_path))
    command = [sys.executable, "-m", "edged", "run", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 2
    assert f"server.tls_certificate: {files.certificate}: cannot be read: No such file" in ended.stderr
