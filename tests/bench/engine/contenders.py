"""The programs that are compared, started with the same sizes: edged, and llama-server for each model."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import edged_daemon
from tests.bench.models import BenchModel
from tests.bench.peers import llama_server
from tests.bench.process import start_here

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Contender:
    """A program that answers. `plans` are edged's, by model."""

    name: str
    port: int
    pid: int
    plans: Mapping[str, Plan]


@contextmanager
def edged(
    models: Sequence[BenchModel], settings: Mapping[str, object], name: str = "edged"
) -> Iterator[Contender]:
    """A daemon with these models, the same `settings` for each generating one, ready to answer."""
    more = {model.id: settings for model in models if model.kind == "generate"}
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = edged_daemon.write_config(Path(folder, "edged.yaml"), models, "warm", more)
        with edged_daemon.start(start_here, config) as daemon:
            client = edged_daemon.Client(daemon)
            client.wait_until_ready()
            plans = client.of_models("/edged/v1/plan", "plans")
            yield Contender(name, client.port, daemon.pid, plans)


@contextmanager
def llama(program: Path, model: BenchModel, plan: Plan, *flags: str) -> Iterator[Contender]:
    """A llama-server with the sizes of edged's plan, ready to answer."""
    arguments = llama_server.arguments(model, plan, slots=plan["n_seq_max"])
    server = llama_server.Server(start_here, program, [*arguments, *flags])
    with server.process:
        server.healthy_s()
        yield Contender("llama-server", server.port, server.process.pid, {})


def same_threads(plan: Plan) -> tuple[str, str]:
    """The flag that gives llama-server as many threads as edged plans."""
    return "-t", str(plan["n_threads"])
