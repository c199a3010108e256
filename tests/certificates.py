"""Certificates for tests, made by the `openssl` command."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Files(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def make(folder: Path, name: str = "edged", *, days: int = 30, key: str = "ec") -> Files:
    """A self-signed certificate for localhost; with negative `days` it has expired."""
    files = Files(folder / f"{name}.pem", folder / f"{name}.key")
    kinds = {"ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("-algorithm", "RSA")}
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    _openssl("genpkey", *kinds[key], "-out", files.key)
    files.key.chmod(0o600)
    request = folder / "request"
    _openssl("req", "-new", "-key", files.key, "-subj", "/CN=edged test", "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-key", files.key, "-days", days, "-extfile", names),
        *("-out", files.certificate),
    )
    return files


def lock(key: Path) -> Path:
    """The same key behind a password."""
    locked = key.with_suffix(".locked")
    _openssl("pkey", "-in", key, "-aes128", "-passout", "pass:secret", "-out", locked)
    return locked


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
