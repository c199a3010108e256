"""Tokens per second of a model whose file does not fit into memory, against what the storage allows.

Run as root: `.venv/bin/python -m tests.bench.larger_than_memory --help`. A pass over the weights reads every
byte that is not resident, so the bound is the read rate over those bytes. edged pins what fits and reads the
rest; llama-server and a bare script leave it to the kernel, which drops just what comes next.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import yaml

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.bench import edged_daemon, report
from tests.bench.models import BenchModel, installed
from tests.bench.peers import llama_server
from tests.bench.process import BenchFailed, TimedProcess
from tests.device.device import Device, why_not
from tests.device.limits import Limits

_PASSES = 4  # tokens per measured request; each is one pass over the weights
_N_CTX = 512
_PROMPT = "The capital of France is"
_SCRIPT = """
import sys, time, llama_cpp
model = llama_cpp.Llama(sys.argv[1], n_ctx=int(sys.argv[2]), verbose=False)
for n_tokens in (1, int(sys.argv[3])):
    begin_s = time.monotonic()
    model.create_completion("The capital of France is", max_tokens=n_tokens, temperature=0)
print(n_tokens / (time.monotonic() - begin_s), flush=True)
"""


def edged(device: Device, model: BenchModel) -> tuple[float, int]:
    """Tokens per second, and the bytes that the plan pins."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        config = Path(folder, "edged.yaml")
        settings = {"file": str(model.file), "n_ctx": _N_CTX, "n_seq_max": 1}
        config.write_text(
            yaml.safe_dump(
                {
                    "storage": {"state_dir": f"{folder}/state"},
                    "memory": {"reserve": "16MiB"},
                    "loading": {"request_wait": "120s"},
                    "models": {model.id: settings},
                }
            )
        )
        with edged_daemon.start(device.run, config) as daemon:
            client = edged_daemon.Client(daemon)
            client.wait_until_ready()
            plan = client.of_models("/edged/v1/plan", "plans")[model.id]
            _wait_until_read(client, model)
            return _rate(lambda body: client.request("/v1/completions", body), model), plan["mlock_bytes"]


def llama(device: Device, model: BenchModel, program: Path) -> float:
    """Tokens per second of llama-server."""
    arguments = ["-m", str(model.file), "--no-webui", "-c", str(_N_CTX), "-np", "1"]
    server = llama_server.Server(device.run, program, arguments)
    with server.process:
        server.healthy_s()
        return _rate(lambda body: server.request("/v1/completions", body), model)


def script(device: Device, model: BenchModel) -> float:
    """Tokens per second of llama-cpp-python with its defaults."""
    command = [sys.executable, "-c", _SCRIPT, str(model.file), str(_N_CTX), str(_PASSES)]
    with TimedProcess(device.run, command) as process:
        return float(process.wait_for_line(lambda line: line.replace(".", "").strip().isdigit()))


def _wait_until_read(client: edged_daemon.Client, model: BenchModel) -> None:
    """Return when what is pinned has been read."""
    deadline = time.monotonic() + 120
    while not client.of_models("/edged/v1/models", "models")[model.id]["prefetch_done"]:
        if time.monotonic() > deadline:
            raise BenchFailed("the pinned part was not read within 120 s")
        time.sleep(0.1)


def _rate(post: Callable[[dict[str, object]], tuple[int, bytes]], model: BenchModel) -> float:
    body = {"model": model.id, "prompt": _PROMPT, "temperature": 0, "ignore_eos": True}
    for n_tokens in (1, _PASSES):  # the first request fills the prompt's cache and what memory there is
        begin_s = time.monotonic()
        status, raw = post({**body, "max_tokens": n_tokens})
        if status != 200:
            raise BenchFailed(f"/v1/completions: {status}: {raw[:300]!r}")
        if json.loads(raw)["usage"]["completion_tokens"] != n_tokens:
            raise BenchFailed("the answer has fewer tokens than were asked for")
    return _PASSES / (time.monotonic() - begin_s)


@click.command()
@click.option("--model", "name", default="gemma3-270m", show_default=True)
@click.option("--ram", "ram_mib", default=300, show_default=True, help="MiB for the whole program.")
@click.option("--rate", default=42_000_000, show_default=True, help="Bytes per second of storage.")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--model-dir", "folder", type=click.Path(path_type=Path), help="Default: of `edged pull`.")
def main(name: str, ram_mib: int, rate: int, repetitions: int, folder: Path | None) -> None:
    """Measure edged, llama-server and a bare script in turn."""
    limits = Limits(ram_bytes=ram_mib << 20, read_bytes_per_s=rate)
    if reason := why_not(limits):
        raise click.ClickException(reason)
    model = next(model for model in installed(folder or model_dir(Config())) if model.id == name)
    program = llama_server.binary()
    rates: dict[str, list[float]] = defaultdict(list)
    pinned_bytes = 0
    for number in range(repetitions):
        for contender in ("edged", "llama-server", "bare script"):
            with Device(limits) as device:
                device.cold(model.file)
                try:
                    if contender == "edged":
                        tokens_per_s, pinned_bytes = edged(device, model)
                    elif contender == "llama-server":
                        tokens_per_s = llama(device, model, program)
                    else:
                        tokens_per_s = script(device, model)
                except BenchFailed as error:
                    click.echo(f"{contender}, {number + 1} of {repetitions}: failed: {error}", err=True)
                    continue
            rates[contender].append(tokens_per_s)
            click.echo(f"{contender}, {number + 1} of {repetitions}: {tokens_per_s:.3f} tokens/s", err=True)
    bound = rate / (model.size_bytes - pinned_bytes)
    report.print_table(
        f"{name} ({model.size_bytes / 1e6:.0f} MB) in {ram_mib} MiB at {rate / 1e6:.0f} MB/s",
        f"bound, rate / bytes not pinned ({pinned_bytes / 1e6:.0f} MB are): {bound:.3f} tokens/s\n"
        f"whole file: {rate / model.size_bytes:.3f} tokens/s. Median (range) of {repetitions}.",
        ("program", "tokens/s", "of the bound"),
        [
            (contender, report.seconds(found), f"{statistics.median(found) / bound:.2f} x" if found else "-")
            for contender, found in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
