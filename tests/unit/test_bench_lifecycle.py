"""The parts of the life cycle benchmarks that need no device: traces, eviction by count, the router."""

import configparser
from pathlib import Path

import pytest

from edged.policy.account import Account, Claim
from edged.policy.evict import Candidate
from edged.policy.room import Scene, Wish
from tests.bench import traces
from tests.bench.by_count import decide, least_recent
from tests.bench.device_reads import read_bytes
from tests.bench.lifecycle import quantile, row
from tests.bench.models import BenchModel
from tests.bench.peers import llama_router
from tests.bench.replay import Outcome, Waited

MIB = 1 << 20
CANDIDATES = [
    Candidate(model=name, frees_bytes=MIB, reload_s=1.0, use_probability=last_use_s)
    for name, last_use_s in (("a", 30.0), ("b", 10.0), ("c", 20.0))
]
THREE = {name: Claim(anon_bytes=MIB) for name in "abc"}


def test_the_trace_that_is_kept_is_the_one_that_is_described() -> None:
    assert traces.MORNING.read_text() == traces.text_of(traces.morning())
    trace = traces.read(traces.MORNING)
    assert trace == traces.morning()
    assert len({asked.model for asked in trace}) == 10


def test_a_trace_with_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("# a comment\nsecond,model,kind\n0.5,a,sing\n")
    with pytest.raises(ValueError, match="'sing' is neither"):
        traces.read(file)


def test_by_count_the_least_recent_leaves_though_there_is_room() -> None:
    account = Account(budget_bytes=100 * MIB, loaded=THREE)
    wish = Wish(model="d", claim=Claim(anon_bytes=MIB), is_urgent=True)
    decision = decide(3, wish, Scene(account=account, candidates=CANDIDATES))
    assert (decision.verdict, decision.leave) == ("waits", ("b",))
    leaving = Scene(account=account, candidates=CANDIDATES[:1], leaving=frozenset("b"))
    assert decide(3, wish, leaving).leave == ()
    assert decide(4, wish, Scene(account=account, candidates=CANDIDATES)).verdict == "admitted"
    assert least_recent([], MIB) is None


def test_the_router_gets_the_contexts_that_edged_plans() -> None:
    plan = {"n_ctx": 2048, "n_seq_max": 4, "n_batch": 512, "n_ubatch": 256, "type_k": "q8_0", "type_v": "f16"}
    models = [BenchModel("chat", "generate", Path("c.gguf")), BenchModel("tags", "embed", Path("t.gguf"))]
    presets = configparser.ConfigParser()
    presets.read_string(llama_router.preset(models, {"chat": plan, "tags": plan}))
    assert presets.sections() == ["chat", "tags"]
    assert (presets["chat"]["ctx-size"], presets["tags"]["ctx-size"]) == ("8192", "2048")
    assert (presets["tags"]["embeddings"], presets["chat"].get("embeddings")) == ("true", None)


def test_what_a_device_has_read(tmp_path: Path) -> None:
    v1, v2 = tmp_path / "v1", tmp_path / "v2"
    for folder in (v1, v2):
        folder.mkdir()
    (v1 / "blkio.throttle.io_service_bytes").write_text(
        "254:0 Read 700\n254:0 Write 9\n8:0 Read 1\nTotal 710\n"
    )
    (v2 / "io.stat").write_text("254:0 rbytes=20 wbytes=9 rios=3\n8:0 rbytes=3 wbytes=0\n")
    assert read_bytes([v1, v2, tmp_path]) == 724


def test_the_row_of_a_contender() -> None:
    waited = tuple(Waited("m", kind, wait_s, 200) for kind, wait_s in (("embed", 0.1), ("chat", 4.0)))
    lost = Waited("m", "chat", 9.0, 503)
    outcome = Outcome(
        contender="edged", waited=(*waited, lost), read_bytes=7_000_000, loads=3, evictions=1, kills=0,
        others_cores=0.1,
    )  # fmt: skip
    assert row("edged", [outcome, outcome]) == [
        *("edged", "6", "2", "4.00", "4.00", "2.05", "0.10", "0.10", "7", "3", "1", "0", "0.10")
    ]
    assert quantile([], 0.5) == "-"
