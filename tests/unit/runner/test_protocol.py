"""Frames survive any cutting, and nothing else is taken for one."""

import contextlib
import socket
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.runner import protocol

_FRAMES: list[protocol.FromRunner] = [
    protocol.Progress("prefetch", 1, 2),
    protocol.Step((protocol.TokenEvent(1, "é", 3), protocol.TokenEvent(2, "", 9, "stop"))),
    protocol.Embeddings(id=1, n_embd=2, n_tokens=(3,), vectors=b"\0" * 8),
    protocol.Rejected(id=4, kind="invalid", message="no", param="input"),
    protocol.Admitted(5, 1, 0, opens_reasoning=True),
    protocol.Tokens(id=6, tokens=(1,), pieces=(b"\xff",)),
    protocol.Text(7, "é"),
    protocol.Scores(id=8, scores=(-1.5, 2.0), n_tokens=9),
]


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_come_out_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    raw = b"".join(protocol.pack(frame) for frame in _FRAMES)
    buffer = protocol.frames_from_runner()
    got: list[protocol.FromRunner] = []
    position = index = 0
    while position < len(raw):
        size = cuts[index % len(cuts)]
        got += buffer.feed(raw[position : position + size])
        position, index = position + size, index + 1
    assert got == _FRAMES


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",  # a length over the limit
        b"\x04\0\0\0abcd",
        b"\x01\0\0\0\xc1",
        protocol.pack(protocol.Shutdown()),  # a frame of the other direction
        b"\x00\0\0\0",
    ],
)
def test_anything_else_breaks_the_contract(raw: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        list(protocol.frames_from_runner().feed(raw))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "rejected", "id": 1, "kind": "full", "message": "", "retry_after_s": float("nan")},
        {"type": "rejected", "id": 1, "kind": "full", "message": "", "retry_after_s": float("inf")},
        {"type": "step", "events": [[1, "a", -1, None]]},
        {"type": "admitted", "id": 1, "n_prompt_tokens": -1, "n_cached_tokens": 0},
        {"type": "gauges", "busy_slots": -1, "queued_requests": 0, "queued_tokens": 0},
        {"type": "reads", "read_bytes": -1, "major_faults": 0},
        {"type": "embeddings", "id": 1, "n_embd": 2, "n_tokens": [1], "vectors": b"1234"},
        {"type": "embeddings", "id": 1, "n_embd": 1, "n_tokens": [1, 1], "vectors": b"1234"},
        {"type": "embeddings", "id": 1, "n_embd": 0, "n_tokens": [1], "vectors": b""},
        {"type": "scores", "id": 1, "scores": [1.0, float("nan")], "n_tokens": 1},
        {"type": "tokens", "id": 1, "tokens": [-1]},
    ],
)
def test_numbers_that_cannot_be_break_the_contract(frame: dict[str, Any]) -> None:
    body = msgspec.msgpack.encode(frame)
    with pytest.raises(protocol.ProtocolError, match="not a frame"):
        list(protocol.frames_from_runner().feed(struct.pack("<I", len(body)) + body))


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waits_for_more(raw: bytes) -> None:
    with contextlib.suppress(protocol.ProtocolError):
        assert list(protocol.frames_from_runner().feed(raw)) == []


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(protocol.ProtocolError, match="over the limit"):
        protocol.pack(protocol.Generate(id=1, text="x" * (protocol.MAX_FRAME_BYTES + 1)))


def test_the_runners_side_reads_until_the_daemon_closes() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(protocol.pack(protocol.Cancel(7)) + protocol.pack(protocol.Shutdown()))
        assert list(protocol.read_to_runner(theirs)) == [protocol.Cancel(7), protocol.Shutdown()]


def test_a_conversation_with_tools_comes_out_as_it_went_in() -> None:
    call = protocol.ToolCall("c1", "add", '{"a": 1}')
    asked = protocol.Generate(
        id=1,
        messages=(
            protocol.Message("assistant", "", reasoning="hm", tool_calls=(call,)),
            protocol.Message("tool", "2", tool_call_id="c1", name="add"),
        ),
        tools=(protocol.Tool("add", "Adds", '{"type": "object"}'),),
        template_options='{"enable_thinking": false}',
        sampling=protocol.Sampling(grammar="root ::= x", grammar_triggers=("<tool_call>",)),
        control_pieces=True,
    )
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(protocol.pack(asked))
        assert list(protocol.read_to_runner(theirs)) == [asked]


def test_nan_and_infinity_are_carried_as_they_are() -> None:
    sampling = protocol.Sampling(logit_bias={1: float("-inf")})
    packed = msgspec.msgpack.encode(sampling)
    assert msgspec.msgpack.decode(packed, type=protocol.Sampling).logit_bias[1] == float("-inf")
