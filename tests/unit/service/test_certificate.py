"""Certificates and keys from files: what is wrong with them is said, with the file."""

import os
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from edged.errors import ConfigError
from edged.service.certificate import load
from tests import certificates
from tests.certificates import Files


@pytest.fixture(name="good", scope="module")
def _good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates.make(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_it_says_what_it_is_for_and_until_when(tmp_path: Path, key: str) -> None:
    found = load(*certificates.make(tmp_path, key=key))
    assert found.names == ("localhost", "127.0.0.1")
    assert found.valid_until_s == pytest.approx(time.time() + 30 * 24 * 3600, abs=3600)
    assert found.fault is None
    assert found.text.startswith("for localhost, 127.0.0.1, valid until 20")


def test_one_that_has_expired_is_used_and_said(tmp_path: Path) -> None:
    """A board without a clock believes that it is 1970: edged must start there as well."""
    found = load(*certificates.make(tmp_path, days=-1))
    assert found.text == "refused by clients: certificate has expired"


def test_a_key_that_everybody_can_read_is_noticed(good: Files, tmp_path: Path) -> None:
    assert not load(*good).exposed
    key = Path(shutil.copy(good.key, tmp_path))
    key.chmod(0o644)
    assert load(good.certificate, key).exposed


def test_old_protocols_and_renegotiation_are_off(good: Files) -> None:
    context = load(*good).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert not [name for name in names if "SHA256" in name and "GCM" not in name and "POLY" not in name]


def _other_key(good: Files, folder: Path) -> Files:
    return Files(good.certificate, certificates.make(folder).key)


def _rsa_key(good: Files, folder: Path) -> Files:
    return Files(good.certificate, certificates.make(folder, key="rsa").key)


def _locked(good: Files, folder: Path) -> Files:
    return Files(good.certificate, certificates.lock(Path(shutil.copy(good.key, folder))))


def _broken(good: Files, folder: Path) -> Files:
    text = good.certificate.read_text().splitlines()
    (folder / "broken.pem").write_text("\n".join([text[0], text[1][::-1], *text[2:]]))
    return Files(folder / "broken.pem", good.key)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            lambda good, _: Files(good.certificate, Path("/gone")),
            "server.tls_key: /gone: cannot be read: No ",
        ),
        (
            lambda good, _: Files(Path("/gone"), good.key),
            "server.tls_certificate: /gone: cannot be read: No ",
        ),
        (lambda good, _: Files(Path("/"), good.key), "server.tls_certificate: /: cannot be read: Is a dir"),
        (lambda good, _: Files(good.key, good.key), "it is a key, which goes to server.tls_key"),
        (lambda good, _: Files(good.certificate, good.certificate), "holds no private key in PEM form"),
        (_other_key, "is not the key of the first certificate in "),
        (_rsa_key, "is not the key of the first certificate in "),
        (_locked, "is locked with a password; `openssl pkey -in FILE -out NEW` unlocks it"),
        (_broken, "cannot be used with "),
    ],
)
def test_what_is_wrong_is_said(
    good: Files, tmp_path: Path, files: Callable[[Files, Path], Files], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*files(good, tmp_path))
    assert why in str(caught.value)
    assert str(caught.value).startswith("server.tls_")


def test_a_file_that_may_not_be_read_is_said_with_who_may_not(
    good: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cast("Any", Path.open)

    def refuse(path: Path, *arguments: str) -> object:
        if path == good.key:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(
        ConfigError, match=r"tls_key: .*: the user that edged runs as \(nobody\) may not read"
    ):
        load(*good)
