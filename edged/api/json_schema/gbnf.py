"""Rules in llama.cpp's grammar notation (GBNF), within what its parser and its sampler can bear."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

from edged.api.json_schema.regular import Automaton, Ranges, TooLarge, common

MAX_GRAMMAR_BYTES = 64 << 10  # what a runner accepts
MAX_RULES = 4000
MAX_SHAPES = 1000
EMPTY = '""'  # an alternative without anything would swallow the next line
_MAX_REPEAT = 500  # llama.cpp makes a rule of each repetition, and drops a limit over 2000 without a word
_MAX_REPEATS = 20_000
MAX_WIDTH = 256  # ways to read a text that llama.cpp follows at once, each over the whole vocabulary
_ESCAPES = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
_CODES = tuple((code, code) for code in _ESCAPES)


@dataclass
class Shape:
    """What decides how many ways llama.cpp has to follow at once in a rule, and whether it ever ends."""

    path: str
    own: int = 1
    parts: set[str] = field(default_factory=set)  # rules that follow one after the other
    at_once: list[list[str]] = field(default_factory=list)  # alternatives that begin alike
    needs: set[str] = field(default_factory=set)  # rules without which it cannot end
    one_of: set[str] = field(default_factory=set)  # of which one must end


class Rules:
    """The grammar so far. Raises TooLarge beyond its bounds."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}  # by the bodies of rules that are not written twice
        self.known: dict[str, str] = {}  # rules by what they are of, whichever schema that came from
        self._n_bytes = 0
        self._n_reserved = 0
        self._n_repeats = 0
        self.shapes: dict[str, Shape] = {}
        self._widths: dict[str, int] = {}  # of the shapes that were checked

    def copy(self) -> "Rules":
        """The same rules, to be written on by themselves."""
        other = copy.copy(self)
        other._bodies, other._names, other.known = dict(self._bodies), dict(self._names), dict(self.known)
        other.shapes, other._widths = dict(self.shapes), dict(self._widths)
        return other

    def reserve(self) -> str:
        """A name for a rule that is written later."""
        self._n_reserved += 1
        if self._n_reserved > MAX_RULES:
            raise TooLarge
        return f"r{self._n_reserved}"

    def define(self, name: str, body: str) -> str:
        """Write a rule, once; returns its name."""
        if name not in self._bodies:
            self._bodies[name] = body
            self._n_bytes += len(f"{name} ::= {body}\n".encode())
            if self._n_bytes > MAX_GRAMMAR_BYTES:
                raise TooLarge
        return name

    def add(self, body: str) -> str:
        """A rule of this body; returns its name."""
        if body not in self._names:
            self._names[body] = self.define(self.reserve(), body)
        return self._names[body]

    def shape(self, name: str, shape: Shape) -> str:
        """Note a rule's shape, those of its parts first where that is possible; returns its name."""
        self.shapes[name] = shape
        if len(self.shapes) > MAX_SHAPES:
            raise TooLarge
        return name

    def text(self, root: str) -> str:
        """All rules, one a line; a text follows the one that is called `root`."""
        bodies = {**self._bodies, "root": root}
        return "".join(f"{name} ::= {body}\n" for name, body in bodies.items())

    def repeat(self, name: str, least: int, most: int | None) -> str:
        """A rule `least` to `most` times, by counting in hundreds where that is much."""
        if most is None:
            return f"{self._exactly(name, least)} {name}*".strip()
        return f"{self._exactly(name, least)} {self._up_to(name, most - least)}".strip()

    def _exactly(self, name: str, times: int) -> str:
        if times <= _MAX_REPEAT:
            return self._times(name, times, times)
        whole, rest = divmod(times, _MAX_REPEAT)
        chunk = self.add(self._times(name, _MAX_REPEAT, _MAX_REPEAT))
        return f"{self._times(chunk, whole, whole)} {self._exactly(name, rest)}".strip()

    def _up_to(self, name: str, times: int) -> str:
        if times <= _MAX_REPEAT:
            return self._times(name, 0, times)
        whole, rest = divmod(times, _MAX_REPEAT)
        chunk = self.add(self._times(name, _MAX_REPEAT, _MAX_REPEAT))
        part = self.add(self._times(name, 0, _MAX_REPEAT - 1))
        left = self.add(self._times(name, 0, rest)) if rest else ""
        for _ in range(whole):
            left = self.add(f"{chunk} {left} | {part}")
        return left

    def _times(self, name: str, least: int, most: int) -> str:
        self._n_repeats += most
        if self._n_repeats > _MAX_REPEATS:
            raise TooLarge
        if most <= 1:
            return name + "?" * (least == 0) if most else ""
        return f"{name}{{{least},{most}}}"

    def automaton(self, automaton: Automaton, *, escaped: bool) -> tuple[str, int]:
        """What an automaton accepts (`escaped`: written inside a JSON string), and how wide it gets."""
        n_before = [0] * len(automaton.edges)
        for edges in automaton.edges:
            for _, target in edges:
                n_before[target] += 1
        n_before[0] += 1
        names: dict[int, str] = {}
        todo = [0]
        width = 1
        inline = {
            state
            for state, edges in enumerate(automaton.edges)
            if n_before[state] == 1 and len(edges) == 1 and state and state not in automaton.accepting
        }

        def way(ranges: Ranges, target: int) -> str:
            parts = _characters(ranges, escaped=escaped)
            while target in inline:
                [(ranges, target)] = automaton.edges[target]
                parts += _characters(ranges, escaped=escaped)
            text = " ".join(_literals_joined(parts))
            if not automaton.edges[target]:
                return text
            if target not in names:
                names[target] = self.reserve()
                todo.append(target)
            return f"{text} {names[target]}"

        names[0] = self.reserve()
        for state in todo:
            edges = automaton.edges[state]
            ways = [way(ranges, target) for ranges, target in edges]
            width = max(width, 2 * len(ways) + 1)
            if state in automaton.accepting:
                ways.append(EMPTY)
            self.define(names[state], " | ".join(ways))
        return names[0], width

    def check_shapes(self) -> None:
        """Raises Unfit for a new rule that never ends or in which too much has to be followed at once."""
        order = [(name, shape) for name, shape in self.shapes.items() if name not in self._widths]
        ending = _ending(dict(order), set(self._widths))
        for name, shape in order:
            if name not in ending:
                raise Unfit(shape.path, "has no finite instance: it needs itself")
        width = self._widths | {name: shape.own for name, shape in order}
        for _ in range(len(order) + 1):
            changed = False
            for name, shape in order:
                ways = [width[part] for part in shape.parts]
                ways += [sum(width[part] for part in parts) for parts in shape.at_once]
                wide = max([width[name], *ways])
                if wide > MAX_WIDTH:
                    raise Unfit(
                        shape.path,
                        "has too many alternatives that begin alike; put first into each a property with a"
                        " const of its own",
                    )
                changed |= wide > width[name]
                width[name] = wide
            if not changed:
                self._widths = width
                return
        raise Unfit(order[0][1].path, "has alternatives that begin alike and hold themselves")


class Unfit(Exception):
    """A grammar that llama.cpp should not be given: where, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(why)
        self.path = path


def literal(text: str) -> str:
    """Exactly this text."""
    shown = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{shown}"'


def _ending(shapes: dict[str, Shape], known: set[str]) -> set[str]:
    """The rules that can end; of some it is known."""
    ending = known
    n_before = -1
    while len(ending) > n_before:
        n_before = len(ending)
        for name, shape in shapes.items():
            one = not shape.one_of or not shape.one_of.isdisjoint(ending)
            if one and shape.needs <= ending:
                ending.add(name)
    return ending


def _characters(ranges: Ranges, *, escaped: bool) -> list[str]:
    """One character, as a literal or a class."""
    escapes = [letter for code, letter in _ESCAPES.items() if escaped and common(ranges, ((code, code),))]
    plain = _without_escapes(ranges) if escapes else ranges
    ways = [_class(plain)] if plain else []
    if len(escapes) == 1:
        ways.append(literal("\\" + escapes[0]))
    elif escapes:
        letters = "".join("\\" + letter if letter in '"\\' else letter for letter in escapes)
        ways.append(f'"\\\\" [{letters}]')
    return ways if len(ways) == 1 else [f"({' | '.join(ways)})"]


def _without_escapes(ranges: Ranges) -> Ranges:
    left: list[tuple[int, int]] = []
    for low, high in ranges:
        for code in sorted(_ESCAPES):
            if low <= code <= high:
                left += [(low, code - 1)] if low < code else []
                low = code + 1
        left += [(low, high)] if low <= high else []
    return tuple(left)


def _class(ranges: Ranges) -> str:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return literal(chr(ranges[0][0]))
    return "[" + "".join(_code(a) if a == b else f"{_code(a)}-{_code(b)}" for a, b in ranges) + "]"


def _code(point: int) -> str:
    character = chr(point)
    return character if character.isascii() and character.isalnum() else f"\\U{point:08X}"


def _literals_joined(parts: Iterable[str]) -> list[str]:
    made: list[str] = []
    for part in parts:
        if made and all(each[0] == '"' == each[-1] for each in (made[-1], part)):
            made[-1] = made[-1][:-1] + part[1:]
        else:
            made.append(part)
    return made
