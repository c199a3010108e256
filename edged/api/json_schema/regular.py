"""Regular expressions as deterministic automata, by Brzozowski's derivatives.

llama.cpp follows every way to read a text at once, so an ambiguous grammar costs it time without bound. An
automaton has one way. Derivatives also give "and" and "not", which patterns with lengths and "any other
property name" need. (J. A. Brzozowski, "Derivatives of Regular Expressions", 1964; classes of characters as
in S. Owens et al., "Regular-expression derivatives re-examined", 2009.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Any

Range = tuple[int, int]  # code points, both included
Ranges = tuple[Range, ...]  # sorted, apart from each other
Expression = int  # an entry of one `Language`

LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
# What a string of a JSON text can hold without a \u escape: nothing that controls a terminal.
CHARACTERS: Ranges = ((8, 10), (12, 13), (0x20, 0x7E), (0xA0, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, LAST))
MAX_STATES = 1000


class TooLarge(Exception):
    """The automaton, or the work to make it, is beyond its bound."""


@dataclass
class Automaton:
    """State 0 is the start. Every state can reach an accepting one."""

    edges: list[list[tuple[Ranges, int]]] = field(default_factory=lambda: [[]])
    accepting: set[int] = field(default_factory=set)


class Language:
    """Expressions, each kept once, so that equal ones are equal numbers.

    `budget` bounds the work done for all of them. Raises TooLarge.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._nodes: list[tuple[Any, ...]] = []
        self._ids: dict[tuple[Any, ...], Expression] = {}
        self._nullable: list[bool] = []
        self._derived: dict[tuple[Expression, int], Expression] = {}
        self.nothing = self._node("set", ())
        self.empty = self._node("empty")
        self.anything = self.repeat(self.characters(CHARACTERS), 0, None)

    def characters(self, ranges: Iterable[Range]) -> Expression:
        """One character out of these."""
        return self._node("set", joined(ranges))

    def text(self, text: str) -> Expression:
        """Exactly this."""
        return self.sequence([self.characters([(ord(each), ord(each))]) for each in text])

    def sequence(self, parts: Sequence[Expression]) -> Expression:
        """One after the other."""
        return reduce(lambda rest, part: self._pair(part, rest), reversed(parts), self.empty)

    def repeat(self, part: Expression, least: int, most: int | None) -> Expression:
        """`least` to `most` times; None: without end."""
        if most == 0 or part == self.empty or (part == self.nothing and least == 0):
            return self.empty
        if part == self.nothing or (least, most) == (1, 1):
            return part
        return self._node("repeat", part, least, most)

    def either(self, parts: Iterable[Expression]) -> Expression:
        """Any of them."""
        kept: set[Expression] = set()
        ranges: list[Range] = []
        for part in parts:
            kind, *inner = self._nodes[part]
            if kind == "set":
                ranges += inner[0]
            else:
                kept.update(inner[0] if kind == "either" else (part,))
        for part in [part for part in kept if self._nodes[part][0] == "set"]:
            ranges += self._nodes[part][1]
            kept.remove(part)
        if ranges:
            kept.add(self.characters(ranges))
        return self.anything if self.anything in kept else self._several("either", kept)

    def both(self, parts: Iterable[Expression]) -> Expression:
        """What is in all of them."""
        kept: set[Expression] = set()
        for part in parts:
            kind, *inner = self._nodes[part]
            kept.update(inner[0] if kind == "both" else (part,))
        return self.nothing if self.nothing in kept else self._several("both", kept)

    def other_than(self, part: Expression) -> Expression:
        """Every text that it does not hold."""
        return self._node("not", part)

    def automaton(self, expression: Expression) -> Automaton | None:
        """The automaton; None when no text is in the language. Raises TooLarge."""
        numbers = {expression: 0}
        made = Automaton()
        todo = [expression]
        for state in todo:
            targets: dict[Expression, list[Range]] = {}
            for low, high in self._classes(state):
                target = self._derivative(state, low)
                if target != self.nothing:
                    targets.setdefault(target, []).append((low, high))
            for target, ranges in targets.items():
                if target not in numbers:
                    numbers[target] = len(todo)
                    todo.append(target)
                    made.edges.append([])
                    if len(todo) > MAX_STATES:
                        raise TooLarge
                made.edges[numbers[state]].append((joined(ranges), numbers[target]))
            if self._nullable[state]:
                made.accepting.add(numbers[state])
        return _living(made)

    def _node(self, *node: Any) -> Expression:
        known = self._ids.get(node)
        if known is not None:
            return known
        self._spend()
        self._ids[node] = len(self._nodes)
        self._nodes.append(node)
        self._nullable.append(self._is_nullable(node))
        return self._ids[node]

    def _spend(self) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise TooLarge

    def _is_nullable(self, node: tuple[Any, ...]) -> bool:
        kind, *inner = node
        if kind == "repeat":
            return bool(inner[1] == 0 or self._nullable[inner[0]])
        if kind == "not":
            return not self._nullable[inner[0]]
        if kind == "pair":
            return all(self._nullable[part] for part in inner)
        if kind in ("either", "both"):
            which = any if kind == "either" else all
            return which(self._nullable[part] for part in inner[0])
        return bool(kind == "empty")

    def _pair(self, first: Expression, rest: Expression) -> Expression:
        if self.nothing in (first, rest):
            return self.nothing
        if first == self.empty:
            return rest
        if rest == self.empty:
            return first
        node = self._nodes[first]
        if node[0] == "pair":  # one form for (ab)c and a(bc)
            return self._pair(node[1], self._pair(node[2], rest))
        return self._node("pair", first, rest)

    def _several(self, kind: str, parts: set[Expression]) -> Expression:
        if len(parts) > 1:
            return self._node(kind, tuple(sorted(parts)))
        return parts.pop() if parts else self.nothing

    def _derivative(self, expression: Expression, character: int) -> Expression:
        """What may follow `character`."""
        known = self._derived.get((expression, character))
        if known is not None:
            return known
        self._spend()
        made = self._derive(self._nodes[expression], character)
        self._derived[expression, character] = made
        return made

    def _derive(self, node: tuple[Any, ...], character: int) -> Expression:
        kind, *inner = node
        if kind == "set":
            return self.empty if any(low <= character <= high for low, high in inner[0]) else self.nothing
        if kind == "pair":
            ways = [self._pair(self._derivative(inner[0], character), inner[1])]
            if self._nullable[inner[0]]:
                ways.append(self._derivative(inner[1], character))
            return self.either(ways)
        if kind == "repeat":
            part, least, most = inner
            rest = self.repeat(part, max(0, least - 1), None if most is None else most - 1)
            return self._pair(self._derivative(part, character), rest)
        if kind == "either":
            return self.either([self._derivative(part, character) for part in inner[0]])
        if kind == "both":
            return self.both([self._derivative(part, character) for part in inner[0]])
        if kind == "not":
            return self.other_than(self._derivative(inner[0], character))
        return self.nothing

    def _classes(self, expression: Expression) -> list[Range]:
        """Ranges of characters that an expression does not tell apart."""
        cuts = {0, LAST + 1}
        todo = [expression]
        for each in todo:
            kind, *inner = self._nodes[each]
            self._spend()
            if kind == "set":
                cuts.update(cut for low, high in inner[0] for cut in (low, high + 1))
            elif kind == "pair":
                todo += inner if self._nullable[inner[0]] else inner[:1]
            elif kind in ("either", "both"):
                todo += inner[0]
            elif kind in ("repeat", "not"):
                todo.append(inner[0])
        ordered = sorted(cuts)
        return [(low, after - 1) for low, after in pairwise(ordered)]


def joined(ranges: Iterable[Range]) -> Ranges:
    """Sorted, and one range where they touch."""
    made: list[Range] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def common(one: Ranges, other: Ranges) -> Ranges:
    """The characters in both."""
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return joined((low, high) for low, high in pairs if low <= high)


def without(ranges: Ranges) -> Ranges:
    """All others that a string can hold."""
    ends = [-1, *(end for low, high in joined(ranges) for end in (low, high)), LAST + 1]
    gaps = [(ends[at] + 1, ends[at + 1] - 1) for at in range(0, len(ends), 2)]
    return common(tuple(gap for gap in gaps if gap[0] <= gap[1]), CHARACTERS)


def words(texts: Iterable[str]) -> Automaton:
    """Exactly these texts, at least one."""
    made = Automaton()
    children: list[dict[str, int]] = [{}]
    for text in texts:
        state = 0
        for character in text:
            if character not in children[state]:
                children[state][character] = len(children)
                made.edges[state].append((((ord(character), ord(character)),), len(children)))
                made.edges.append([])
                children.append({})
            state = children[state][character]
        made.accepting.add(state)
    return made


def _living(automaton: Automaton) -> Automaton | None:
    """Without the states from which no end is reached: a text that went there could never be finished."""
    before: list[set[int]] = [set() for _ in automaton.edges]
    for state, edges in enumerate(automaton.edges):
        for _, target in edges:
            before[target].add(state)
    alive = set(automaton.accepting)
    todo = list(alive)
    for state in todo:
        fresh = before[state] - alive
        alive |= fresh
        todo += fresh
    if 0 not in alive:
        return None
    numbers = {state: number for number, state in enumerate(sorted(alive))}
    return Automaton(
        [
            [(ranges, numbers[target]) for ranges, target in automaton.edges[state] if target in alive]
            for state in sorted(alive)
        ],
        {numbers[state] for state in automaton.accepting},
    )
