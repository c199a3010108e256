"""Random texts out of a GBNF grammar: as much of the notation as the schema compiler writes."""

import random
import re
from typing import Any

# A parsed expression: ("or", parts), ("and", parts), ("text", str), ("class", ranges), ("rule", name),
# ("times", expression, least, most or None).
Expression = tuple[Any, ...]

_TOKEN = re.compile(
    r'\s*(?:"(?P<text>(?:\\.|[^"\\])*)"|\[(?P<class>(?:\\.|[^\]\\])*)\]|(?P<rule>[a-zA-Z0-9\-]+)'
    r"|\{(?P<count>\d+,\d*)\}|(?P<sign>[()|*+?]))"
)
_CHARACTER = re.compile(r"\\U([0-9A-F]{8})|\\([nrt\"\\\[\]\-])|(.)", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_ENDLESS = 10**9
_MORE = 4  # repetitions beyond the least, where there is no end


class Grammar:
    """A parsed grammar."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, Expression] = {}
        for line in text.removesuffix("\n").split("\n"):
            name, found, body = line.partition(" ::= ")
            assert found
            assert name not in self.rules
            self.rules[name] = _Parser(body).whole()
        self._shortest = dict.fromkeys(self.rules, _ENDLESS)
        while True:
            shorter = {name: self._length(body) for name, body in self.rules.items()}
            if shorter == self._shortest:
                break
            self._shortest = shorter
        assert max(shorter.values()) < _ENDLESS, f"a rule without an end in\n{text}"

    def text(self, rng: random.Random, budget: int = 60) -> str:
        """One text; after about `budget` choices the shortest way to an end is taken."""
        self._left = budget
        return self._make(("rule", "root"), rng)

    def _length(self, each: Expression) -> int:
        kind, *inner = each
        if kind == "or":
            return min(map(self._length, inner[0]))
        if kind == "and":
            return min(_ENDLESS, sum(map(self._length, inner[0])))
        if kind == "rule":
            return self._shortest[inner[0]]
        if kind == "times":
            return min(_ENDLESS, inner[1] * self._length(inner[0])) if inner[1] else 0
        return len(inner[0]) if kind == "text" else 1

    def _make(self, each: Expression, rng: random.Random) -> str:
        kind, *inner = each
        self._left -= 1
        if kind == "text":
            return str(inner[0])
        if kind == "class":
            low, high = rng.choice(inner[0])
            return chr(rng.choice((low, high, rng.randint(low, high))))
        if kind == "rule":
            return self._make(self.rules[inner[0]], rng)
        if kind == "and":
            return "".join(self._make(part, rng) for part in inner[0])
        if kind == "or":
            part = rng.choice(inner[0]) if self._left > 0 else min(inner[0], key=self._length)
            return self._make(part, rng)
        part, least, most = inner
        most = least + _MORE if most is None else most
        times = least if self._left <= 0 else rng.choice((least, most, rng.randint(least, most)))
        return "".join(self._make(part, rng) for _ in range(times))


class _Parser:
    """One rule's body."""

    def __init__(self, body: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(body.rstrip()):
            found = _TOKEN.match(body, at)
            assert found, f"no GBNF at {body[at:]!r}"
            assert found.lastgroup
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def whole(self) -> Expression:
        made = self._either()
        assert not self._tokens
        return made

    def _either(self) -> Expression:
        ways = [self._sequence()]
        while self._tokens[:1] == [("sign", "|")]:
            self._tokens.pop(0)
            ways.append(self._sequence())
        return ("or", ways) if len(ways) > 1 else ways[0]

    def _sequence(self) -> Expression:
        parts: list[Expression] = []
        while self._tokens and self._tokens[0] not in (("sign", "|"), ("sign", ")")):
            kind, value = self._tokens.pop(0)
            if kind == "text":
                parts.append(("text", "".join(map(chr, _points(value)))))
            elif kind == "class":
                parts.append(("class", _ranges(value)))
            elif kind == "rule":
                parts.append(("rule", value))
            elif value == "(":
                parts.append(self._either())
                assert self._tokens.pop(0) == ("sign", ")")
            else:
                least, most = {"*": "0,", "+": "1,", "?": "0,1"}.get(value, value).split(",")
                parts.append(("times", parts.pop(), int(least), int(most) if most else None))
        assert parts, "an empty alternative swallows the next line in llama.cpp"
        return ("and", parts)


def _points(text: str) -> list[int]:
    made = []
    for code, named, plain in _CHARACTER.findall(text):
        made.append(int(code, 16) if code else ord(_NAMED.get(named, named) if named else plain))
    return made


def _ranges(text: str) -> list[tuple[int, int]]:
    assert not text.startswith("^"), "a negated class refuses characters that tokens split"
    made: list[tuple[int, int]] = []
    members = [found[0] for found in _CHARACTER.finditer(text)]
    while members:
        [low] = _points(members.pop(0))
        high = low
        if members[:1] == ["-"]:
            [high] = _points(members[1])
            del members[:2]
        assert low <= high
        made.append((low, high))
    return made
