"""One cold start of edged, of llama-server, or of a bare script, on an emulated device."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import edged_daemon
from tests.bench.models import BenchModel
from tests.bench.peers import llama_server
from tests.bench.process import TimedProcess
from tests.device.device import Device

_STOCK_SCRIPT = (sys.executable, str(Path(__file__).with_name("stock.py")))


@dataclass(frozen=True)
class Start:
    """One start, in seconds from exec. `livez_s` is None where the program serves nothing.

    Of edged also what it says of itself: `plans` and `statuses` by model, as its API gives them.
    """

    livez_s: float | None
    readyz_s: float
    answers_s: dict[str, float]
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)


def edged(
    device: Device,
    models: Sequence[BenchModel],
    strategy: str,
    more: edged_daemon.Settings | None = None,
    folder: Path | None = None,
) -> Start:
    """Start the daemon; ask for life, readiness and an answer of every model at the same time.

    `more` are further settings, by model. `folder` keeps what the daemon learns; a new one by default.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="edged-bench-") as fresh:
            return edged(device, models, strategy, more, Path(fresh))
    config = edged_daemon.write_config(folder / "edged.yaml", models, strategy, more)
    # the daemon ends before the threads are waited for, so that a hanging answer ends, too
    with ThreadPoolExecutor(len(models)) as threads, edged_daemon.start(device.run, config) as daemon:
        client = edged_daemon.Client(daemon)
        status, _ = client.request("/livez")
        livez_s = daemon.elapsed_s()
        if status != 200:
            raise daemon.failure(f"/livez: {status}")
        answers = {model.id: threads.submit(_answered_s, client, daemon, model) for model in models}
        client.wait_until_ready()
        readyz_s = daemon.elapsed_s()
        answers_s = {model: answer.result() for model, answer in answers.items()}
        return Start(
            livez_s,
            readyz_s,
            answers_s,
            plans=client.of_models("/edged/v1/plan", "plans"),
            statuses=client.of_models("/edged/v1/models", "models"),
        )


def _answered_s(client: edged_daemon.Client, daemon: TimedProcess, model: BenchModel) -> float:
    client.answer(model)
    return daemon.elapsed_s()


def stock(device: Device, model: BenchModel, plan: Mapping[str, Any]) -> Start:
    """Start the bare script with the context of `plan`, and wait for what it prints."""
    n_ctx = plan["n_ctx"] * (1 if model.kind == "embed" else plan["n_seq_max"])
    with TimedProcess(device.run, [*_STOCK_SCRIPT, str(model.file), model.kind, str(n_ctx)]) as script:
        script.wait_for_line(lambda line: line == "loaded\n")
        loaded_s = script.elapsed_s()
        script.wait_for_line(lambda line: line == "answered\n")
        return Start(None, loaded_s, {model.id: script.elapsed_s()})


def peer(device: Device, model: BenchModel, plan: Mapping[str, Any], program: Path) -> Start:
    """Start llama-server with the context of `plan`; its /health answers before it is ready."""
    server = llama_server.Server(device.run, program, llama_server.arguments(model, plan))
    with ThreadPoolExecutor(2) as threads, server.process:
        answer = threads.submit(server.first_answer_s, model)
        ready = threads.submit(server.healthy_s)
        livez_s = server.answers_s()
        return Start(livez_s, ready.result(), {model.id: answer.result()})
