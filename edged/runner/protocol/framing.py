"""Frames as bytes on the line, and back: a 4-byte little-endian length and a msgpack body each."""

import socket
import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from edged.runner.protocol.answers import (
    Admitted,
    Embeddings,
    Rejected,
    Scores,
    Step,
    Text,
    Tokens,
    Warmed,
)
from edged.runner.protocol.life import (
    Cool,
    Cooled,
    Gauges,
    Limit,
    LoadFailed,
    Ping,
    Progress,
    ReadAhead,
    Reads,
    Ready,
    Shutdown,
    Start,
    Warmup,
)
from edged.runner.protocol.requests import Cancel, Detokenize, Embed, Generate, Rank, Render, Tokenize

MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")
_Frame = TypeVar("_Frame")

Asked = Generate | Embed | Rank | Tokenize | Detokenize | Render | Warmup
ToRunner = Start | Asked | Cancel | Cool | ReadAhead | Limit | Ping | Shutdown
FromRunner = (
    Progress
    | Ready
    | Reads
    | LoadFailed
    | Rejected
    | Admitted
    | Step
    | Embeddings
    | Scores
    | Tokens
    | Text
    | Warmed
    | Cooled
    | Gauges
)

_encoder = msgspec.msgpack.Encoder()
_to_runner: msgspec.msgpack.Decoder[ToRunner] = msgspec.msgpack.Decoder(ToRunner)
_from_runner: msgspec.msgpack.Decoder[FromRunner] = msgspec.msgpack.Decoder(FromRunner)


class ProtocolError(Exception):
    """The other side sent something that is not a frame of this contract."""


def pack(frame: ToRunner | FromRunner) -> bytes:
    """A frame as bytes, ready for `sendall`."""
    body = _encoder.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


class FrameBuffer(Generic[_Frame]):
    """Frames out of a byte stream that arrives in pieces of any size."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[_Frame]) -> None:
        self._decoder = decoder
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[_Frame]:
        """The frames that `piece` completes. Raises ProtocolError on anything that is not one."""
        self._pending += piece
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = _LENGTH.size + length
            if len(self._pending) < end:
                return
            body = bytes(self._pending[_LENGTH.size : end])
            del self._pending[:end]
            try:
                yield self._decoder.decode(body)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise ProtocolError(f"not a frame of this contract: {error}") from error


def frames_from_runner() -> FrameBuffer[FromRunner]:
    """A buffer for what a runner sends."""
    return FrameBuffer(_from_runner)


def read_to_runner(connection: socket.socket) -> Iterator[ToRunner]:
    """The daemon's frames, until it closes or dies. Raises ProtocolError on anything else."""
    frames = FrameBuffer(_to_runner)
    while piece := connection.recv(1 << 16):
        yield from frames.feed(piece)
