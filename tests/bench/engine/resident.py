"""What of memory the programs hold: every page once, whoever else has it mapped too."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from tests.bench.engine import workload
from tests.bench.engine.clients import ask, together
from tests.bench.engine.contenders import Contender, edged, llama, same_threads
from tests.bench.engine.rows import Row, Target
from tests.bench.engine.setup import Setup
from tests.bench.models import BenchModel

_MB = 1e6
_N_CLIENTS = 4
_TURNS = 2


def memory(setup: Setup, model: BenchModel) -> list[Row]:
    """Resident memory of daemon and runner, and of llama-server, after the same requests."""
    found: list[list[float]] = [[], []]
    sums: list[list[float]] = [[], []]
    with edged([model], {}) as probe:
        plan = probe.plans[model.id]
    for _ in range(setup.repetitions):
        for side in range(2):
            flags = same_threads(plan)
            with edged([model], {}) if side == 0 else llama(setup.program, model, plan, *flags) as contender:
                together(contender.port, _questions(model), ask)
                texts = _smaps(contender)
                found[side].append(resident_bytes(texts) / _MB)
                sums[side].append(sum(map(rss_bytes, texts)) / _MB)
    what = f"resident memory, {model.id}, {plan['n_seq_max']} slots of {plan['n_ctx']} tokens"
    return [
        Row(what=what, unit="MB", edged=tuple(found[0]), peer="llama-server", peers=tuple(found[1]),
            target=Target("at most more", 60)),
        Row(what=f"{what}, sum of RSS", unit="MB", edged=tuple(sums[0]), peer="llama-server",
            peers=tuple(sums[1])),
    ]  # fmt: skip


def _questions(model: BenchModel) -> list[list[bytes]]:
    return [
        [
            workload.chat(workload.question(client * _TURNS + turn), 32, model=model.id)
            for turn in range(_TURNS)
        ]
        for client in range(_N_CLIENTS)
    ]


def _smaps(contender: Contender) -> list[str]:
    processes = [contender.pid, *(one.pid for one in psutil.Process(contender.pid).children(recursive=True))]
    texts = []
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            texts.append(Path(f"/proc/{pid}/smaps").read_text())
    return texts


def resident_bytes(smaps: Sequence[str]) -> int:
    """Bytes in RAM of processes that each have their own anonymous memory, from the text of their smaps.

    A page of a file counts once, however many of them map it; other programs' mappings change nothing,
    as they would change the proportional set size.
    """
    anonymous = 0
    files: dict[tuple[str, ...], int] = defaultdict(int)
    for text in smaps:
        own: dict[tuple[str, ...], int] = defaultdict(int)
        for mapping, rss, anon in _mappings(text.splitlines()):
            anonymous += anon
            own[mapping] += rss - anon
        for mapping, size in own.items():
            files[mapping] = max(files[mapping], size)
    return anonymous + sum(files.values())


def rss_bytes(smaps: str) -> int:
    """Bytes in RAM of one process, from the text of its smaps."""
    return sum(rss for _, rss, _ in _mappings(smaps.splitlines()))


def _mappings(lines: Iterable[str]) -> Iterable[tuple[tuple[str, ...], int, int]]:
    """(file and offset, resident bytes, anonymous ones among them) of each mapping; see proc_pid_smaps(5)."""
    mapping: tuple[str, ...] = ()
    rss = 0
    for line in lines:
        name, *rest = line.split(None, 5)
        if not name.endswith(":"):  # 7f00-7f01 r-xp OFFSET DEVICE INODE PATH
            mapping = (rest[1], rest[2], rest[3])
        elif name == "Rss:":
            rss = int(rest[0]) * 1024
        elif name == "Anonymous:":
            yield mapping, rss, int(rest[0]) * 1024
