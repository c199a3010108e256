"""HTTP requests as waitress parses them, with what it lets pass or trips over refused.

What is framed in two ways can be one request to a proxy and another one here (RFC 9112, 6.1 and 11.2).
"""

from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error

_VERSIONS = ("1.0", "1.1")
# Waitress copies what is left of a piece at each chunk: this keeps a piece of tiny chunks from taking 0.1 s.
_CHUNKED_PIECE_BYTES = 4 << 10
_MOST_CONTROL_BYTES = 8 << 10  # between two chunks, or after the last


class _VersionNotSupported(Error):
    code = 505
    reason = "HTTP Version Not Supported"


class WrongScheme(BadRequest):
    """A client that speaks TLS where it is not spoken, or none where it is."""

    def __init__(self, scheme: str) -> None:
        """`scheme`: of this port."""
        other = "https" if scheme == "http" else "http"
        super().__init__(f"this port speaks {scheme.upper()}: write {scheme}:// instead of {other}://")
        self.name = f"{scheme}_required"


class Parser(HTTPRequestParser):
    """One request on its way in."""

    path = ""  # waitress logs it, also of requests that it could not read so far

    def received(self, data: bytes) -> int:
        """Take input; returns how much of it belonged to this request."""
        n_taken = int(super().received(data[:_CHUNKED_PIECE_BYTES] if self.chunked else data))
        if self.error is None and self.headers_finished:
            self.error = self._fault()
            self.completed |= self.error is not None
        if self.completed:
            self.expect_continue = False  # waitress would ask for a body that is not wanted, and wait for it
        return n_taken

    def parse_header(self, header_plus: bytes) -> None:
        """Understand the first line and the headers. Raises ParsingError."""
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("a header goes on in the next line, which HTTP has given up")
        try:
            super().parse_header(header_plus)
        except ParsingError as error:  # some repeat the line, in which a key may stand
            raise ParsingError(str(error).partition(' "')[0]) from None
        except ValueError as error:  # an address such as http://[, a length of thousands of digits
            raise ParsingError("the request's address or its Content-Length cannot be read") from error
        has_length, is_encoded = "CONTENT_LENGTH" in self.headers, "TRANSFER_ENCODING" in self.headers
        if self.chunked and has_length:
            raise ParsingError("Content-Length and Transfer-Encoding are both there; send one of them")
        if is_encoded:  # waitress takes it away where it heeds it
            raise ParsingError(f"Transfer-Encoding is not part of HTTP/{self.version}; send Content-Length")

    def _fault(self) -> Any:
        """What is wrong with a request whose header is there, and what there is of its body."""
        if self.empty:
            return None
        if self.version not in _VERSIONS:
            return _VersionNotSupported("speak HTTP/1.1")
        body: Any = self.body_rcv
        if self.chunked and len(body.control_line) + len(body.trailer) > _MOST_CONTROL_BYTES:
            return BadRequest("what is between the chunks, or follows them, is too long")
        return None
