"""Connections from the command line to edged: in the clear, or with TLS to nobody else than the one meant."""

import http.client
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from edged.errors import EdgedError

_PORTS = {"http": 80, "https": 443}
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_END = "-----END CERTIFICATE-----"


class Address(NamedTuple):
    """Where edged listens."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        """By an address as people write it. Raises EdgedError."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise _strange(url) from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise _strange(url)
        return cls(parts.scheme, _ANYWHERE.get(parts.hostname, parts.hostname), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def connect(address: Address, certificate: Path | None, timeout_s: float) -> http.client.HTTPConnection:
    """A connection over which nothing was sent yet. Raises EdgedError if it leads to a stranger, and OSError.

    `certificate`: a file whose first one is trusted whatever its name and dates say, and no other; None: this
    machine's authorities (or those in $SSL_CERT_FILE) are asked.
    """
    connection = _connection(address, certificate, timeout_s)
    try:
        connection.connect()
        if certificate is not None and address.scheme == "https":
            _compare(connection, certificate, address)
        connection.sock.settimeout(None)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise EdgedError(
            f"the certificate of {address} is not trusted here ({error.verify_message}); $SSL_CERT_FILE may"
            " name a file with it, or with the authority that signed it"
        ) from error
    except ssl.SSLError as error:
        connection.close()
        raise EdgedError(
            f"no TLS with {address} ({error.reason or error}); if it speaks plain HTTP, write http://"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _strange(url: str) -> EdgedError:
    return EdgedError(f"{url}: expected an address such as http://127.0.0.1:8080")


def _connection(address: Address, certificate: Path | None, timeout_s: float) -> http.client.HTTPConnection:
    if address.scheme == "http":
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    context = ssl.create_default_context()
    if certificate is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it is compared
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)


def _compare(connection: http.client.HTTPConnection, certificate: Path, address: Address) -> None:
    """Raises EdgedError unless the file's first certificate is that of the other side."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    try:
        first, end, _ = certificate.read_text("latin-1").partition(_END)
        wanted = ssl.PEM_cert_to_DER_cert(first[first.find("-----BEGIN CERTIFICATE") :] + end)
    except (OSError, ValueError) as error:
        raise EdgedError(f"server.tls_certificate: {certificate}: {error}") from error
    if connection.sock.getpeercert(binary_form=True) != wanted:
        raise EdgedError(
            f"what answers at {address} shows another certificate than the first one in {certificate};"
            " if that has changed, `edged reload` puts it in force"
        )
