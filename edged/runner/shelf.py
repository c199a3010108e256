"""Hot prefixes over an unload: KV cells in a few bounded files, written when a runner stops.

A file is only ever read by a runner with the same model, settings and llama.cpp, and only after its checksum
was found right: llama.cpp would end the process on cells that do not fit. Without fsync: a file that a power
cut has damaged is recognised and removed, like any other that does not belong here.
"""

import contextlib
import hashlib
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from edged.runner.engine.pace import Pace
from edged.runner.engine.prefix import common_length
from edged.runner.protocol import Start

_MAGIC = b"EDGEDKV1"
_PREAMBLE = struct.Struct("<8s32sI")  # magic, sha256 of all that follows it, length of the header
_MAX_HEADER_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20
SAVE_S = 2.0  # whoever unloads a model wants its memory now
_SLOW_STORAGE_BYTES_PER_S = 40e6  # an SD card: where reading pays there, it pays everywhere
MIN_SHELVED_TOKENS = 32


class Cells(Protocol):
    """The KV cells of a sequence as bytes."""

    def save(self, sequence: int) -> bytes:
        """All cells of a sequence; none where they are not there yet."""

    def restore(self, sequence: int, cells: memoryview) -> bool:
        """Make them what the sequence holds; False: they do not fit, and it holds nothing."""


class _Header(msgspec.Struct, frozen=True, array_like=True):
    key: str
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    tokens: list[int]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What decides whether reading cells pays: computing the prompt here, and reading there."""

    pace: Pace
    read_bytes_per_s: float = _SLOW_STORAGE_BYTES_PER_S


def rates_of(start: Start, pace: Pace) -> Rates:
    """The rate of the model's storage, if the prefixes are on the same device; else that of a slow one."""
    try:
        folder = next(each for each in Path(start.prefix_dir or "/").parents if each.exists())
        same = folder.stat().st_dev == os.stat(start.path).st_dev
    except OSError:
        same = False
    return Rates(pace, start.read_bytes_per_s) if same and start.read_bytes_per_s else Rates(pace)


class Shelf:
    """One model's folder of prefixes; owned by the engine thread, and by whoever stops it afterwards."""

    def __init__(self, folder: Path, limit_bytes: int, key: str, cells: Cells, rates: Rates) -> None:
        """`key` names all that cells depend on; files with another one are removed, as are too many."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._key = key
        self._cells = cells
        self._rates = rates
        self._entries = [entry for path in _paths(folder) if (entry := self._read_entry(path))]
        self._make_room(0)

    def restore(self, slot: int, tokens: list[int], n_there: int) -> list[int] | None:
        """Fill a slot's cells where reading is quicker than computing what `n_there` lacks of `tokens`."""
        entry = max(self._entries, key=lambda each: common_length(each.tokens, tokens), default=None)
        if entry is None or not self._pays(entry, common_length(entry.tokens, tokens) - n_there):
            return None
        cells = self._checked(entry)
        if cells is None:
            self._remove(entry, "is damaged")
            return None
        if not self._cells.restore(slot, cells):
            self._remove(entry, "does not fit the model")
            return []
        with contextlib.suppress(OSError):  # a read-only folder: it only orders who is removed first
            os.utime(entry.path)
        return list(entry.tokens)

    def keep(self, slot: int, tokens: list[int], deadline_s: float) -> bool:
        """Write a slot's cells, which hold just `tokens`; False when `deadline_s` (monotonic) has passed."""
        if any(entry.tokens[: len(tokens)] == tokens for entry in self._entries):
            return True
        cells = self._cells.save(slot)
        if not cells:
            return True
        header = msgspec.msgpack.encode(_Header(self._key, tokens))
        digest = hashlib.sha256(header + cells).digest()
        size_bytes = _PREAMBLE.size + len(header) + len(cells)
        if size_bytes > self._limit_bytes:
            return True
        name = hashlib.sha256(header).hexdigest()[:24]
        part, path = self._folder / f"{name}.part", self._folder / f"{name}.kv"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(size_bytes)
            content = _PREAMBLE.pack(_MAGIC, digest, len(header)) + header + cells
            done = _write(part, memoryview(content), deadline_s)
            if done:
                part.replace(path)
                self._entries.append(_Entry(path, tokens, size_bytes))
            else:
                part.unlink()
        except OSError as error:
            print(f"a prefix cannot be kept in {self._folder}: {error}", file=sys.stderr)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            return False
        return done

    def _pays(self, entry: _Entry, saved_tokens: int) -> bool:
        if saved_tokens < MIN_SHELVED_TOKENS:
            return False
        token_s = self._rates.pace.prompt_token_s
        return token_s is None or entry.size_bytes / self._rates.read_bytes_per_s < saved_tokens * token_s

    def _read_entry(self, path: Path) -> _Entry | None:
        """What a file says it holds; one that is not ours is removed."""
        try:
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > self._limit_bytes:
                _unlink(path, "is no file of ours, or too large")
                return None
            with path.open("rb") as file:
                magic, _, length = _PREAMBLE.unpack(file.read(_PREAMBLE.size))
                if magic == _MAGIC and length <= _MAX_HEADER_BYTES:
                    header = msgspec.msgpack.decode(file.read(length), type=_Header)
                    if header.key == self._key:
                        return _Entry(path, header.tokens, facts.st_size)
            reason = "is of another model, setting or version"
        except (OSError, struct.error, msgspec.MsgspecError) as error:
            reason = f"cannot be read ({error})"
        _unlink(path, reason)
        return None

    def _checked(self, entry: _Entry) -> memoryview | None:
        """The cells, if every byte is as it was written."""
        try:
            content = memoryview(entry.path.read_bytes())
            _, digest, length = _PREAMBLE.unpack(content[: _PREAMBLE.size])
        except (OSError, struct.error):
            return None
        body = content[_PREAMBLE.size :]
        return body[length:] if hashlib.sha256(body).digest() == digest else None

    def _remove(self, entry: _Entry, reason: str) -> None:
        self._entries.remove(entry)
        _unlink(entry.path, reason)

    def _make_room(self, size_bytes: int) -> None:
        by_use = sorted(self._entries, key=lambda entry: _modified(entry.path))
        while by_use and sum(entry.size_bytes for entry in by_use) + size_bytes > self._limit_bytes:
            self._remove(by_use.pop(0), "makes room")


def put_away(
    shelf: Shelf, hot: list[tuple[int, list[int]]], cut: Callable[[int, int], int], save_s: float = SAVE_S
) -> None:
    """Write slots' hot prefixes, the longest first, for `save_s` at most; their other cells are dropped."""
    deadline_s = time.monotonic() + save_s
    for slot, tokens in sorted(hot, key=lambda each: -len(each[1])):
        if len(tokens) < MIN_SHELVED_TOKENS or cut(slot, len(tokens)) != len(tokens):
            continue
        if not shelf.keep(slot, tokens, deadline_s):
            return


def _write(path: Path, content: memoryview, deadline_s: float) -> bool:
    """Write a new file that only its owner may read; False when the time is over before the end."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0) as file:
        at = 0
        while at < len(content):
            if time.monotonic() > deadline_s:
                return False
            at += file.write(content[at : at + _PIECE_BYTES])
    return True


def _paths(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not there yet, or not readable: then nothing is on it
        return []


def _unlink(path: Path, reason: str) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        print(f"{path} {reason}, but cannot be removed: {error}", file=sys.stderr)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
