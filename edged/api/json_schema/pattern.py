"""Patterns as JSON Schema writes them (ECMA-262), and formats. What is not regular is refused."""

import re
from collections.abc import Mapping

from edged.api.json_schema.regular import (
    CHARACTERS,
    LAST,
    Expression,
    Language,
    Ranges,
    common,
    joined,
    without,
)

MAX_PATTERN_CHARACTERS = 512
MAX_PATTERN_DEPTH = 16
MAX_PATTERN_REPEAT = 500

_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_BLANK: Ranges = ((9, 10), (12, 13), (32, 32))
_SPACES: Ranges = joined(
    (
        *(*_BLANK, (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
        *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
    )
)
_ASCII: Ranges = ((0, 0x7F),)
_BEYOND: Ranges = ((0x80, LAST),)
# Engines differ in what is a digit, a letter or a blank beyond ASCII, and what ends a line. What is generated
# suits all of them: it is of the narrow classes, and of none of the wide ones inside [^...] and (?!...).
_NARROW = {
    "d": _DIGIT,
    "D": common(without(_DIGIT), _ASCII),
    "w": _WORD,
    "W": common(without(_WORD), _ASCII),
    "s": _BLANK,
    "S": without(_SPACES),
}
_WIDE = {
    "d": _DIGIT + _BEYOND,
    "D": without(_DIGIT),
    "w": _WORD + _BEYOND,
    "W": without(_WORD),
    "s": _SPACES,
    "S": without(_BLANK),
}
_CONTROLS = {"t": 9, "n": 10, "f": 12, "r": 13}
_DOT = without(((10, 10), (13, 13), (0x2028, 0x2029)))
_WIDE_DOT = without(((10, 10),))
_COUNT = re.compile(r"\{(\d{1,6})(,(\d{0,6}))?\}")
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")

_AHEAD = re.compile(r"\(\?([=!])")
_NAMED = re.compile(r"\?P?<[A-Za-z_]\w*>")

_HEX = "[0-9a-fA-F]"
_DATE = (
    "(([12][0-9]{3})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|([12][0-9](0[48]|[2468][048]|[13579][26])|1200|1600|2000|2400|2800)-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+\-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9\\-]{0,30}[a-zA-Z0-9])?"
_N = "[0-9]{1,4}"
_CLOCK = f"T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S)"
_DURATION = f"P(({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D)({_CLOCK})?|{_CLOCK}|{_N}W)"
_GROUP = f"{_HEX}{{1,4}}"
_URL_LETTERS = r"a-zA-Z0-9_.~\-"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": f"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"({_GROUP}:){{7}}{_GROUP}|({_GROUP}:){{1,6}}:{_GROUP}|::{_GROUP}",
    "duration": _DURATION,
    "uri": rf"https?://{_LABEL}(\.{_LABEL}){{0,3}}(:[1-9][0-9]{{0,3}})?(/[{_URL_LETTERS}]*)*(\?[{_URL_LETTERS}=&]+)?",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,3}}",
    "email": rf"[a-zA-Z0-9_+\-]{{1,32}}(\.[a-zA-Z0-9_+\-]{{1,32}})?@{_LABEL}(\.{_LABEL}){{1,3}}",
}


class BadPattern(Exception):
    """Not expressible; says what."""


def expression_of(language: Language, pattern: str, *, wide: bool = False) -> Expression:
    """The strings in which every engine finds a pattern; `wide`: any engine. Raises BadPattern, TooLarge."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadPattern(f"{len(pattern)} characters, at most {MAX_PATTERN_CHARACTERS} are accepted")
    return _Parser(language, pattern, wide=wide).whole()


class _Parser:
    """One pattern, read from left to right."""

    def __init__(self, language: Language, pattern: str, *, wide: bool) -> None:
        self._language = language
        self._pattern = pattern
        self._wide = wide
        self._at = 0

    def whole(self) -> Expression:
        """Alternatives, each of which may be bound to the string's ends."""
        ways = [self._bound()]
        while self._take("|"):
            ways.append(self._bound())
        if self._at < len(self._pattern):
            raise BadPattern(f"`{self._pattern[self._at]}` at {self._at} closes nothing")
        return self._language.either(ways)

    def _bound(self) -> Expression:
        anything = self._language.anything
        before = [] if self._take("^") else [anything]
        ahead = self._conditions(at_start=not before)
        rest = self._language.sequence([self._sequence(0), *([] if self._take("$") else [anything])])
        if self._peek() not in ("", "|", ")"):
            raise BadPattern(f"`$` at {self._at - 1} is not at the end")
        return self._language.sequence([*before, self._language.both([*ahead, rest])])

    def _conditions(self, *, at_start: bool) -> list[Expression]:
        """What must follow, `(?=…)`, or must not, `(?!…)`, before anything else does."""
        found = []
        while sign := _AHEAD.match(self._pattern, self._at):
            self._at = sign.end()
            self._wide ^= sign[1] == "!"
            ways = [self._ahead(at_start=at_start)]
            while self._take("|"):
                ways.append(self._ahead(at_start=at_start))
            if not self._take(")"):
                raise BadPattern("a group is not closed")
            self._wide ^= sign[1] == "!"
            follows = self._language.either(ways)
            found.append(self._language.other_than(follows) if sign[1] == "!" else follows)
        return found

    def _ahead(self, *, at_start: bool) -> Expression:
        if self._take("^") and not at_start:
            raise BadPattern(f"`^` at {self._at - 1} is not at the start")
        part = self._sequence(1)
        return self._language.sequence([part, *([] if self._take("$") else [self._language.anything])])

    def _group(self, depth: int) -> Expression:
        if depth > MAX_PATTERN_DEPTH:
            raise BadPattern(f"groups nest deeper than {MAX_PATTERN_DEPTH}")
        if name := _NAMED.match(self._pattern, self._at):
            self._at = name.end()
        elif self._take("?") and not self._take(":"):
            raise BadPattern(
                f"`(?{self._peek()}` at {self._at - 2}: only (?:…) is supported there, (?=…) and (?!…) first"
            )
        ways = [self._sequence(depth)]
        while self._take("|"):
            ways.append(self._sequence(depth))
        if not self._take(")"):
            what = self._peek()
            raise BadPattern(f"`{what}` inside a group is not supported" if what else "a group is not closed")
        return self._language.either(ways)

    def _sequence(self, depth: int) -> Expression:
        parts = []
        while self._peek() not in ("", "|", ")", "$"):
            parts.append(self._repeated(self._single(depth)))
        return self._language.sequence(parts)

    def _repeated(self, part: Expression) -> Expression:
        least, most = self._times()
        if (least, most) == (1, 1):
            return part
        self._take("?")  # a lazy repeat finds the same strings
        if self._peek() in ("*", "+", "?", "{"):
            raise BadPattern(f"`{self._peek()}` at {self._at} repeats nothing")
        return self._language.repeat(part, least, most)

    def _times(self) -> tuple[int, int | None]:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return times
        count = _COUNT.match(self._pattern, self._at)
        if count is None:
            if self._peek() == "{":
                raise BadPattern(f"`{{` at {self._at} is no count; write \\{{ for the character")
            return 1, 1
        self._at = count.end()
        least = int(count[1])
        most = least if count[2] is None else int(count[3]) if count[3] else None
        if max(least, most or 0) > MAX_PATTERN_REPEAT:
            raise BadPattern(f"repeats {count[0]} times, at most {MAX_PATTERN_REPEAT} are accepted")
        if most is not None and most < least:
            raise BadPattern(f"{count[0]} is no range")
        return least, most

    def _single(self, depth: int) -> Expression:
        character = self._next()
        if character == "(":
            return self._group(depth + 1)
        if character in "*+?^{}]":
            raise BadPattern(f"`{character}` at {self._at - 1} is not supported there")
        if character == ".":
            ranges = _WIDE_DOT if self._wide else _DOT
        elif character == "[":
            ranges = self._class()
        elif character == "\\":
            ranges = self._escape(_WIDE if self._wide else _NARROW)
        else:
            ranges = ((ord(character), ord(character)),)
        return self._language.characters(common(ranges, CHARACTERS))

    def _class(self) -> Ranges:
        negated = self._take("^")
        classes = _WIDE if negated != self._wide else _NARROW
        found: list[tuple[int, int]] = []
        while not self._take("]"):
            first = self._member(classes)
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._next()
                last = self._member(classes)
                if not (_is_one(first) and _is_one(last)) or last[0][0] < first[0][0]:
                    raise BadPattern(f"the range before {self._at} is none")
                first = ((first[0][0], last[0][0]),)
            found += first
        return without(tuple(found)) if negated else joined(found)

    def _member(self, classes: Mapping[str, Ranges]) -> Ranges:
        character = self._next()
        if character == "\\":
            if self._take("b"):
                return ((8, 8),)
            return self._escape(classes)
        return ((ord(character), ord(character)),)

    def _escape(self, classes: Mapping[str, Ranges]) -> Ranges:
        code = _CODE.match(self._pattern, self._at)
        if code:
            self._at = code.end()
            point = int(code[1] or code[2] or code[3], 16)
            return ((point, point),)
        character = self._next()
        if character in classes:
            return classes[character]
        if character in _CONTROLS:
            return ((_CONTROLS[character],) * 2,)
        if character.isalnum():
            raise BadPattern(f"`\\{character}` is not supported")
        return ((ord(character), ord(character)),)

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        taken = self._peek() == character
        self._at += taken
        return taken

    def _next(self) -> str:
        character = self._peek()
        if not character:
            raise BadPattern("ends too early")
        self._at += 1
        return character


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]
