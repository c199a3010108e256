"""A certificate and its key from files, tried before anybody relies on them.

Only imported where TLS is wanted: Python's `ssl` takes the start more time than all else here.
"""

import os
import socket
import ssl
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edged.errors import ConfigError
from edged.service.tls import TlsSocket

_CERTIFICATE, _KEY = "server.tls_certificate", "server.tls_key"
# TLS 1.3 has no others than these; of TLS 1.2 those that keep old talk secret when a key is stolen later.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_OTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_MOST_BYTES = 1 << 20  # of a file with a chain of certificates


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What connections are secured with, and what a client will say to it."""

    context: ssl.SSLContext
    names: tuple[str, ...] = ()  # hosts and addresses that it is for
    valid_until_s: float | None = None  # seconds since 1970; None where `fault` keeps it from being told
    fault: str | None = None  # why clients will refuse it now: it has expired, mostly
    exposed: bool = False  # everybody on this machine can read the key

    def secure(self, sock: socket.socket) -> TlsSocket:
        """Put TLS before a connection."""
        return TlsSocket(sock, self.context)

    @property
    def text(self) -> str:
        """For a sentence: what it is for, and how long."""
        if self.valid_until_s is None:
            return f"refused by clients: {self.fault}"
        until = time.strftime("%Y-%m-%d", time.gmtime(self.valid_until_s))
        return f"for {', '.join(self.names) or 'no name'}, valid until {until}"


def load(certificate: Path, key: Path) -> Certificate:
    """Read and try both files. Raises ConfigError with the setting, the file and what is wrong with it."""
    chain = _read(_CERTIFICATE, certificate)
    secret = _read(_KEY, key)
    if "-----BEGIN CERTIFICATE-----" not in chain:
        swapped = "; it is a key, which goes to server.tls_key" if "PRIVATE KEY-----" in chain else ""
        raise _wrong(_CERTIFICATE, certificate, f"holds no certificate in PEM form{swapped}")
    if "PRIVATE KEY-----" not in secret:
        raise _wrong(_KEY, key, "holds no private key in PEM form")
    context = _context()
    try:
        context.load_cert_chain(certificate, key, password=lambda: _refuse_password(key))
    except ssl.SSLError as error:
        if error.reason in _OTHER_KEY:
            raise _wrong(_KEY, key, f"is not the key of the first certificate in {certificate}") from None
        why = (error.reason or str(error)).replace("_", " ").lower()
        raise _wrong(_CERTIFICATE, certificate, f"cannot be used with {key}: {why}") from None
    found, fault = _tried(context, chain)
    return Certificate(
        context=context,
        names=tuple(name for kind, name in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        valid_until_s=ssl.cert_time_to_seconds(found["notAfter"]) if found else None,
        fault=fault,
        exposed=bool(key.stat().st_mode & stat.S_IROTH),
    )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    # Whoever has no AES instructions asks for ChaCha20 first, and knows best.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _read(setting: str, file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("latin-1")
    except PermissionError:
        raise _wrong(
            setting,
            file,
            f"the user that edged runs as ({_user()}) may not read it: let one of its groups read it"
            " (for the service: SupplementaryGroups= with `systemctl edit edged`)",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        why = getattr(error, "strerror", None) or str(error)
        raise _wrong(setting, file, f"cannot be read: {why}") from None


def _user() -> str:
    import pwd

    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _refuse_password(key: Path) -> str:
    raise _wrong(_KEY, key, "is locked with a password; `openssl pkey -in FILE -out NEW` unlocks it")


def _wrong(setting: str, file: Path, why: str) -> ConfigError:
    return ConfigError([f"{setting}: {file}: {why}"])


def _tried(context: ssl.SSLContext, chain: str) -> tuple[dict[str, Any], str | None]:
    """What a client that trusts this very certificate reads in it, or why it refuses it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cadata=chain)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    try:
        for end in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        return client.getpeercert() or {}, None
    except ssl.SSLCertVerificationError as error:
        return {}, error.verify_message
    except ssl.SSLError as error:
        return {}, error.reason or str(error)
