"""The parts of the engine benchmark that need no model: the client, the figures, the workload."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.bench.engine import workload
from tests.bench.engine.agreement import cosine
from tests.bench.engine.clients import ask, ask_streamed, together
from tests.bench.engine.command import CASES, Asked
from tests.bench.engine.resident import resident_bytes, rss_bytes
from tests.bench.engine.rows import COLUMNS, Row, Target, latest, notes, percentile
from tests.bench.engine.setup import Turns
from tests.bench.engine.streams import Streams
from tests.bench.engine.wire import Connection
from tests.bench.peers.onnx import word_piece
from tests.bench.process import BenchFailed
from tests.bench.quiet import Neighbours

WHOLE = b'{"choices":[{"message":{"content":"Hi."}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
PIECES = (
    b'data: {"choices":[{"delta":{"content":"H"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"i."}}]}\n\ndata: {"choices":[{"delta":{}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,'
    b'"prompt_tokens_details":{"cached_tokens":1}}}\n\n',
    b"data: [DONE]\n\n",
)


def plain(body: bytes, head: bytes = b"") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), head, body)


def chunked(pieces: tuple[bytes, ...], end: bytes = b"0\r\n\r\n") -> bytes:
    """A stream."""
    chunks = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + end


@contextmanager
def answering(*connections: list[bytes]) -> Iterator[int]:
    """A server's port: on each connection in turn, one of its answers for each request, then it hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answers in connections:
                connection, _ = listening.accept()
                with connection, connection.makefile("rb") as requests:
                    for answer in answers:
                        while (line := requests.readline()) not in (b"\r\n", b""):
                            if line.startswith(b"Content-Length: "):
                                length = int(line.split()[1])
                        if line == b"":
                            break
                        requests.read(length)
                        connection.sendall(answer)
                    else:
                        requests.read()  # until the client has gone

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_a_connection_is_kept_until_the_server_says_that_it_closes() -> None:
    last = plain(b"two", b"Connection: close\r\n")
    with answering([plain(b"one"), last], [plain(b"three")]) as port, Connection(port) as connection:
        assert [connection.post("/", b"{}") for _ in range(3)] == [b"one", b"two", b"three"]


def test_a_stream_s_text_and_times_are_collected() -> None:
    with answering([chunked(PIECES)], [plain(WHOLE)]) as port, Connection(port) as connection:
        said = ask_streamed(connection, b"{}")
        assert ask(connection, b"{}").text == "Hi."
    assert (said.text, said.usage.completion_tokens, said.usage.cached_tokens) == ("Hi.", 2, 1)
    assert len(said.tokens_at_s) == 2
    assert 0 <= said.first_token_s <= said.tokens_at_s[1] - said.sent_at_s


def test_what_is_no_answer_is_reported() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull"
    broken = pytest.raises(BenchFailed, match="429: full")
    with answering([refusal]) as port, Connection(port) as connection, broken:
        connection.post("/v1/embeddings", b"{}")
    broken = pytest.raises(BenchFailed, match="without text and usage: 'H'")
    with answering([chunked(PIECES[:1])], []) as port, Connection(port) as connection, broken:
        ask_streamed(connection, b"{}")


def test_clients_work_side_by_side() -> None:
    with answering([plain(WHOLE)] * 2) as port:
        elapsed_s, answers = together(port, [[b"{}", b"{}"]], ask)
    assert [said.usage.prompt_tokens for said in answers] == [3, 3]
    assert elapsed_s > 0


def test_streams_are_followed_and_hung_up() -> None:
    endless = chunked(PIECES[:2], end=b"")
    with answering([endless]) as port, Streams(port, [b"{}"]) as streams:
        streams.wait_for(2)
        [times_s] = streams.times_s()
        assert len(times_s) == 2
        streams.wait_until(times_s[0] - 1)


def test_a_stream_that_breaks_is_reported() -> None:
    broken = pytest.raises(BenchFailed, match="without text")
    with answering([plain(b"no event")]) as port, Streams(port, [b"{}"]) as streams, broken:
        streams.finished()


@pytest.mark.parametrize(
    ("kind", "value", "edged", "peer", "reached"),
    [
        ("at least", 1.1, 111, 100, True),
        ("at least", 1.1, 109, 100, False),
        ("at most", 0.5, 50, 100, True),
        ("at most", 0.5, 51, 100, False),
        ("at most more", 60, 160, 100, True),
        ("at most more", 60, 161, 100, False),
    ],
)
def test_a_target_is_a_ratio_or_a_difference(
    kind: str, value: float, edged: float, peer: float, reached: bool
) -> None:
    assert msgspec.convert({"kind": kind, "value": value}, Target).reached(edged, peer) is reached


def row(**more: object) -> Row:
    """A chat row that reaches its target."""
    fields: dict[str, object] = {
        "what": "chat",
        "unit": "tokens/s",
        "edged": (110.0, 120.0, 130.0),
        "peer": "llama-server",
    }
    fields |= {"peers": (100.0, 100.0, 110.0), "target": {"kind": "at least", "value": 1.2}}
    return msgspec.convert(fields | more, Row)


def test_a_row_shows_both_sides_the_ratio_and_the_verdict() -> None:
    cells = dict(zip(COLUMNS, row().cells(), strict=True))
    assert cells["edged"] == "120.00 (110.00-130.00)"
    assert cells["ratio"] == "1.20 (1.10-1.20)"
    assert (cells["target"], cells["reached"]) == (">= 1.2 x", "yes")
    assert row(edged=(110.0,)).cells()[-1] == "NO"
    assert row(target=None).cells()[-2:] == ["", ""]


def test_rows_survive_their_file_and_the_latest_counts() -> None:
    first, other, again = row(), row(what="embed"), row(edged=(1.0,), note="again", others_cores=0.5)
    kept = [msgspec.json.decode(msgspec.json.encode(one), type=Row) for one in (first, other, again)]
    assert latest(kept) == [again, other]
    assert notes(latest(kept)) == "chat: again\nchat: others used up to 0.5 cores"
    assert again.cells()[0] == "chat (disturbed)"


def test_a_percentile_is_a_sample() -> None:
    samples = [float(number) for number in range(1, 101)]
    assert [percentile(samples, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([3.0, 1.0], 0.01) == 1.0


SMAPS = """\
00400000-00401000 r-xp 00001000 08:01 42 /usr/bin/program with a name: odd
Size:                  8 kB
Rss:                   8 kB
Anonymous:             4 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
Rss:                {heap} kB
Anonymous:          {heap} kB
"""


def test_a_shared_page_of_a_file_counts_once() -> None:
    texts = [SMAPS.format(heap=100), SMAPS.format(heap=50)]
    assert [rss_bytes(text) for text in texts] == [108 * 1024, 58 * 1024]
    assert resident_bytes(texts) == (104 + 54 + 4) * 1024


def test_the_kernel_s_own_smaps_are_understood() -> None:
    text = Path("/proc/self/smaps").read_text()
    assert 1 << 20 < resident_bytes([text]) == rss_bytes(text)


def test_everybody_is_asked_something_else_but_each_time_the_same() -> None:
    assert workload.question(3) == workload.question(3)
    assert len({workload.question(number) for number in range(1000)}) == 1000
    assert len({workload.sentence(number) for number in range(1000)}) == 1000
    assert len(workload.words(1, 18).split()) == 18
    body = msgspec.json.decode(workload.chat("Hello", 5, cache=False, model="smollm2"))
    assert (body["cache_prompt"], body["ignore_eos"], body["temperature"]) == (False, True, 0)


def test_word_pieces_are_marked_where_they_are_not_the_first() -> None:
    assert [word_piece(token) for token in ("[CLS]", "\u2581the", "ing", "[", "\u2581[")] == [
        "[CLS]", "the", "##ing", "##[", "[",
    ]  # fmt: skip


def test_the_cosine_does_not_depend_on_length() -> None:
    assert cosine([3.0, 4.0], [6.0, 8.0]) == pytest.approx(1.0)
    assert cosine([1.0, 0.0], [0.0, 2.0]) == 0


def test_a_measurement_that_others_disturb_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([0.0, 0.9, 0.0, 0.1])  # by turns before and during a measurement
    monkeypatch.setattr(Neighbours, "cores", lambda _: next(used))
    results = iter(["disturbed", "good"])
    turns = Turns(60)
    assert turns.take(lambda attempt: f"{next(results)} {attempt}") == "good 1"
    assert turns.others_cores == 0.1


def test_a_disturbed_measurement_counts_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Neighbours, "cores", lambda _: 0.9)
    turns = Turns(0)
    assert turns.take(lambda _: "disturbed") == "disturbed"
    assert turns.others_cores == 0.9


def test_each_case_can_be_selected() -> None:
    asked = Asked(CASES, ["smollm2"], [1, 4], ["on"], False)
    names = [name for name, _ in asked.measures()]
    assert names == [
        "chat smollm2 1 cache on", "chat smollm2 4 cache on", "first-token smollm2", "embed minilm",
        "mixed smollm2", "spinners smollm2 1", "spinners smollm2 2", "long-prompt smollm2", "memory smollm2",
        "agreement minilm", "agreement smollm2",
    ]  # fmt: skip
