"""The cells and starts of the regret benchmark, and which of them are missing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import msgspec

from edged.gguf.header import read_header
from edged.gguf.repack import repacked_tensors
from edged.hw.cpu import cpu_facts
from tests.bench.models import BenchModel
from tests.bench.outcomes import AUTO, Outcome

REPACKED = "warm+repack"
_ALONE = ("warm", "stream", "lazy")
_BESIDE = ("warm", "stream")
_TOGETHER = ("minilm+smollm2", "minilm+gemma3-270m")
_CACHED_ON = "sd40"  # from the page cache, every storage is as fast

Way = dict[str, str]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Models on a device, with their files cold or cached."""

    profile: str
    models: tuple[BenchModel, ...]
    cache: str

    @property
    def key(self) -> tuple[str, str, str]:
        """As outcomes name it."""
        return self.profile, " + ".join(model.id for model in self.models), self.cache


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One repetition of a cell: the ways that it has not been measured by yet (None: edged's own choice)."""

    cell: Cell
    ways: tuple[Way | None, ...]
    number: int


def cells(profiles: Iterable[str], names: Sequence[str], found: Mapping[str, BenchModel]) -> list[Cell]:
    """Every profile with every one of the named models (`minilm+smollm2`: two at once), cold."""
    return [
        Cell(profile=profile, models=tuple(found[part] for part in name.split("+")), cache="cold")
        for profile, name in product(profiles, names)
    ]


def whole(profiles: Sequence[str], found: Mapping[str, BenchModel]) -> list[Cell]:
    """The whole grid: all installed models on all devices, alone and together, and cached on one of them."""
    together = [name for name in _TOGETHER if set(name.split("+")) <= found.keys()]
    cold = cells(profiles, [*found, *together], found)
    return cold + cached(cells([p for p in profiles if p == _CACHED_ON], list(found), found))


def cached(cold: Iterable[Cell]) -> list[Cell]:
    """The same cells with their files in the page cache."""
    return [msgspec.structs.replace(cell, cache="cached") for cell in cold]


def ways(models: Sequence[BenchModel]) -> list[Way]:
    """Every way to load a model, by model; repacking only where this CPU has something to repack.

    Together, only what two models do to each other: paging and repacking are measured alone.
    """
    if len(models) > 1:
        choices: list[tuple[str, ...]] = [_BESIDE] * len(models)
    else:
        repacks = repacked_tensors(read_header(models[0].file), cpu_facts().instruction_sets)
        choices = [(*_ALONE, REPACKED) if repacks else _ALONE]
    names = [model.id for model in models]
    return [dict(zip(names, combination, strict=True)) for combination in product(*choices)]


def asked_of(way: Way | None) -> str:
    """`warm`, or `warm, stream` for two models, or `auto`."""
    return AUTO if way is None else ", ".join(way.values())


def next_task(wanted: Sequence[Cell], done: Iterable[Outcome], repetitions: int) -> Task | None:
    """What to measure next: every cell once before any cell again. None when nothing is missing.

    The second of a pair of starts does not count: a pair is one repetition.
    """
    counted = Counter((one.cell, one.asked) for one in done if one.asked != AUTO or not one.learnt)
    for number in range(repetitions):
        for cell in wanted:
            missing = tuple(
                way for way in (None, *ways(cell.models)) if counted[cell.key, asked_of(way)] <= number
            )
            if missing:
                return Task(cell=cell, ways=missing, number=number)
    return None
