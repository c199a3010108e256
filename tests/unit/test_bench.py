"""The parts that benchmarks are made of, on stand-ins for the daemon: no model, no device."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edged.config.load import load
from tests.bench import edged_daemon, figure, probe, report
from tests.bench.edged_daemon import Client
from tests.bench.models import BenchModel, installed
from tests.bench.peers import llama_server
from tests.bench.probe_once import Probed
from tests.bench.process import BenchFailed, TimedProcess, start_here

# Ready at the third question; answers whom it is asked for minilm, and refuses others.
STAND_IN = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += self.path == "/readyz"
        self.reply(503 if self.path == "/readyz" and Handler.asked < 3 else 200)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(200 if body["model"] == "minilm" else 404)
    def reply(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("something else")
print(f"edged: listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""

# The same as llama-server: it takes its port from the command line, and everything is refused at first.
REFUSES_AT_FIRST = (
    STAND_IN.replace("import http.server, json", "import http.server, json, sys")
    .replace('"/readyz"', '"/health"')
    .replace(", 0), Handler", ", int(sys.argv[4])), Handler")
)


def test_a_daemon_is_asked_until_it_is_ready_and_answers() -> None:
    with TimedProcess(start_here, [sys.executable, "-c", STAND_IN]) as daemon:
        client = Client(daemon)
        assert client.request("/livez") == (200, b"")
        client.wait_until_ready()
        client.answer(BenchModel("minilm", "embed", Path("minilm.gguf")))
        with pytest.raises(BenchFailed, match="/v1/completions: 404"):
            client.answer(BenchModel("smollm2", "generate", Path("smollm2.gguf")))
        assert daemon.elapsed_s() > 0
        assert not daemon.ended()


def test_a_daemon_that_ends_early_is_reported_with_its_log() -> None:
    script = "import sys; print('edged: no such file', file=sys.stderr)"
    with (
        TimedProcess(start_here, [sys.executable, "-c", script]) as daemon,
        pytest.raises(BenchFailed, match=r"(?s)ended before.*edged: no such file"),
    ):
        Client(daemon)


def test_a_program_has_a_session_of_its_own() -> None:
    script = "import os; print(os.getsid(0) == os.getpid())"
    with TimedProcess(start_here, [sys.executable, "-c", script]) as program:
        assert program.wait_for_line(lambda _: True) == "True\n"


def test_the_configuration_that_is_written_is_one_that_edged_takes(tmp_path: Path) -> None:
    model = BenchModel("minilm", "embed", tmp_path / "minilm.gguf")
    config = load(edged_daemon.write_config(tmp_path / "edged.yaml", [model], "lazy"), [])
    assert config.models["minilm"].strategy == "lazy"
    assert config.storage.state_dir == str(tmp_path / "state")


def test_models_are_found_by_their_catalog_names(tmp_path: Path) -> None:
    for name in ("smollm2.gguf", "minilm.gguf", "other.gguf"):
        (tmp_path / name).write_bytes(b"1234")
    assert [(model.id, model.size_bytes) for model in installed(tmp_path)] == [("minilm", 4), ("smollm2", 4)]


def test_numbers_are_medians_with_their_range() -> None:
    assert report.seconds([3.0, 1.0, 2.2]) == "2.20 (1.00-3.00)"
    assert report.ratio([3.0, 1.0, 2.2], 2.0) == "1.10 x"
    assert (report.seconds([]), report.ratio([], 2.0)) == ("-", "-")


def test_the_error_of_a_prediction_is_a_share_of_what_was_measured() -> None:
    errors = report.errors([(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)])
    assert errors == [0.5, 0.5, 0.0]
    assert (report.percent(errors), report.percent([])) == ("50 %", "-")


def test_a_figure_shows_medians_and_what_gave_no_answer() -> None:
    groups = [figure.Group("a < b", [figure.Bar("one", [1.0, 2.0, 4.0]), figure.Bar("two", [])])]
    drawing = ET.fromstring(figure.bars("Title", "unit", groups))
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Title", "unit; shorter is better", "1", "a < b", "one", "2.00 x", "two", "no answer"]
    (bar,) = drawing.iter("{http://www.w3.org/2000/svg}rect")
    line = list(drawing.iter("{http://www.w3.org/2000/svg}line"))[1]
    end_of_median = float(bar.attrib["x"]) + float(bar.attrib["width"])
    assert float(line.attrib["x1"]) < end_of_median < float(line.attrib["x2"])


def test_llama_server_gets_the_context_that_edged_plans() -> None:
    plan = {"n_ctx": 2048, "n_seq_max": 4, "n_batch": 512, "n_ubatch": 256, "type_k": "q8_0", "type_v": "f16"}
    args = llama_server.arguments(BenchModel("smollm2", "generate", Path("smollm2.gguf")), plan)
    assert args[args.index("-c") + 1] == "8192"
    assert args[args.index("-ctk") + 1] == "q8_0"
    embed_args = llama_server.arguments(BenchModel("minilm", "embed", Path("minilm.gguf")), plan)
    assert embed_args[embed_args.index("-c") + 1] == "2048"
    assert "--embeddings" in embed_args


def test_a_server_that_refuses_at_first_is_asked_again(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{REFUSES_AT_FIRST}")
    program.chmod(0o755)
    server = llama_server.Server(start_here, program, [])
    with server.process:
        assert server.answers_s() <= server.healthy_s()
        server.first_answer_s(BenchModel("minilm", "embed", Path("minilm.gguf")))
        with pytest.raises(BenchFailed, match="/v1/completions: 404"):
            server.first_answer_s(BenchModel("smollm2", "generate", Path("smollm2.gguf")))


def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
    program.chmod(0o755)
    server = llama_server.Server(start_here, program, [])
    with server.process, pytest.raises(BenchFailed, match=r"(?s)exit code 3.*no such model"):
        server.healthy_s()


def test_a_table_in_a_file_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(
        "Title", "Caption", ["model", "device", "program", "seconds"], [["m" * 40, "d" * 40, "p", "1"]]
    )
    assert "m" * 40 + " │ " + "d" * 40 in capsys.readouterr().out


def probed(bytes_per_s: float | None) -> Probed:
    """One probe of a disk whose loader gets 2 GB/s."""
    return Probed(
        bytes_per_s=bytes_per_s,
        random_latency_s=None,
        took_s=0.2,
        read_bytes=31_500_000,
        loader_bytes_per_s=2e9,
    )


def test_a_probe_is_compared_with_the_emulated_rate_or_with_what_loads_get() -> None:
    sd20 = probe.row("sd20", [probed(20e6)], [probed(20e6), probed(21e6), probed(18e6)])
    assert sd20[1] == "20"
    assert sd20[3:] == ["20.0 (18.0-21.0)", "+0.0%, -10.0%", "20.0 (20.0-20.0)", "31.5", "0.200"]
    assert probe.row("nvme", [probed(3e9)], [probed(1e9)])[1:5] == [
        "2000", "2000.0 (2000.0-2000.0)", "1000.0 (1000.0-1000.0)", "-50.0%, -50.0%",
    ]  # fmt: skip
