"""Rules for strings, numbers and constants, and for values about which a schema says nothing."""

import json
from decimal import Decimal

from edged.api.json_schema import digits
from edged.api.json_schema.gbnf import Rules, Shape
from edged.api.json_schema.keywords import MAX_VALUES, refused, step
from edged.api.json_schema.normal import Alternative
from edged.api.json_schema.pattern import FORMATS, BadPattern, expression_of
from edged.api.json_schema.regular import CHARACTERS, Expression, Language, TooLarge, words

ANY_DEPTH = 6  # arrays and objects in each other, where the schema says nothing about them
_SHARED = {
    "sp": '" "?',
    "char": r'[ !#-\[\]-~\U000000A0-\U0000D7FF\U0000E000-\U0010FFFF] | "\\" ["\\/bfnrt]',
    "string": r'"\"" char* "\""',
    "integer": '"-"? [1-9] [0-9]{0,14} | "0"',
    "number": '"-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [+\\-]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
}
_WIDTHS = {"string": 4, "integer": 3, "number": 8, "boolean": 2}  # ways to follow at once, counted generously
_WIDE = 24  # of any value


class Scalars:
    """Writes them into `rules`; every method returns the name of one."""

    def __init__(self, rules: Rules, language: Language) -> None:
        self._rules = rules
        self._language = language

    def simple(self, alternative: Alternative, path: str) -> str:
        """A number, a boolean or null."""
        kind = alternative["type"]
        if len(alternative) == 1:
            return self.shared(kind, path)
        if "multipleOf" in alternative:
            return self._multiples(alternative, path)
        bounds = _bounds(alternative, path)
        make = digits.integers if kind == "integer" else digits.decimals
        if kind == "number" and not digits.fits_doubles(bounds):
            raise refused(path, f"minimum and maximum need more than {digits.MAX_DIGITS} digits")
        return self.automaton(make(self._language, bounds), path)

    def _multiples(self, alternative: Alternative, path: str) -> str:
        at = step(path, "multipleOf")
        unit = alternative["multipleOf"]
        if unit <= 0:
            raise refused(at, "is not above 0")
        if unit != int(unit):
            raise refused(at, "only whole numbers are supported")
        bounds = _bounds(alternative, path)
        if unit == 1:
            return self.automaton(digits.integers(self._language, bounds), path)
        low, high = bounds.scaled(0, digits.MAX_INTEGER_DIGITS)
        found = range(-(-low // int(unit)) * int(unit), high + 1, int(unit))
        if high - low > MAX_VALUES * unit:
            raise refused(
                at, f"needs a minimum and a maximum with at most {MAX_VALUES} multiples between them"
            )
        if not found:
            raise refused(path, "nothing fulfils this")
        start, width = self._rules.automaton(words(map(str, found)), escaped=False)
        return self._rules.shape(start, Shape(path, width))

    def enum(self, alternative: Alternative, path: str) -> str:
        """Exactly these values, compactly written."""
        texts = [json.dumps(value, ensure_ascii=False) for value in alternative["enum"].values()]
        start, width = self._rules.automaton(words(texts), escaped=False)
        return self._rules.shape(start, Shape(path, width))

    def string(self, alternative: Alternative, path: str) -> str:
        """A string by its lengths, pattern and format."""
        if "pattern" in alternative or "format" in alternative:
            return self.automaton(self.expression(alternative, path), path, quoted=True)
        least, most = counts(alternative, "minLength", "maxLength", path)
        if (least, most) == (0, None):
            return self.shared("string", path)
        self.shared("string", path)
        body = f'"\\"" {self._rules.repeat("char", least, most)} "\\""'
        return self._rules.shape(self._rules.add(body), Shape(path, _WIDTHS["string"]))

    def expression(self, alternative: Alternative, path: str, *, wide: bool = False) -> Expression:
        """The texts that are such strings; `wide`: also those of which that is disputed."""
        least, most = counts(alternative, "minLength", "maxLength", path)
        parts = [
            self._pattern(alternative, name, path, wide=wide)
            for name in ("pattern", "format")
            if name in alternative
        ]
        if (least, most) != (0, None):
            parts.append(self._language.repeat(self._language.characters(CHARACTERS), least, most))
        return self._language.both(parts) if parts else self._language.anything

    def _pattern(self, alternative: Alternative, name: str, path: str, *, wide: bool) -> Expression:
        pattern = alternative[name]
        if name == "format":
            if pattern not in FORMATS:
                raise refused(step(path, name), f"only {', '.join(FORMATS)} are supported; leave it out")
            pattern = f"^({FORMATS[pattern]})$"
        try:
            return expression_of(self._language, pattern, wide=wide)
        except BadPattern as problem:
            raise refused(step(path, name), str(problem)) from problem

    def automaton(self, expression: Expression, path: str, *, quoted: bool = False) -> str:
        """The texts of an expression; `quoted`: as what a JSON string holds."""
        try:
            automaton = self._language.automaton(expression)
        except TooLarge as error:
            raise refused(path, "its pattern, lengths or limits are too complex together") from error
        if automaton is None:
            raise refused(path, "nothing fulfils this")
        start, width = self._rules.automaton(automaton, escaped=quoted)
        if quoted:
            start = self._rules.add(f'"\\"" {start} "\\""')
        return self._rules.shape(start, Shape(path, width))

    def shared(self, name: str, path: str) -> str:
        """One of the rules that do not depend on the schema."""
        self._rules.define(name, _SHARED[name])
        for part in ("sp", "char"):
            self._rules.define(part, _SHARED[part])
        if name not in self._rules.shapes:
            self._rules.shape(name, Shape(path, _WIDTHS.get(name, 1)))
        return name

    def anything(self, depth: int, path: str) -> str:
        """Any value in which arrays and objects nest `depth` deep."""
        name = f"any-{depth}"
        if name not in self._rules.shapes:
            parts = [self.shared(each, path) for each in ("string", "number", "boolean", "null")]
            if depth:
                self.anything(depth - 1, path)
                parts += [self.any_object(depth, path), f"list-{depth}"]
                pair = self._rules.add(f'"," sp any-{depth - 1}')
                self._rules.define(f"list-{depth}", f'"[" (any-{depth - 1} {pair}*)? "]"')
            self._rules.define(name, " | ".join(parts))
            self._rules.shape(name, Shape(path, _WIDE))
        return name

    def any_object(self, depth: int, path: str) -> str:
        """Any object in which arrays and objects nest `depth` deep, itself among them."""
        name = f"object-{depth}"
        if name not in self._rules.shapes:
            inner = self.anything(depth - 1, path)
            member = self._rules.add(f'string ":" sp {inner}')
            more = self._rules.add(f'"," sp {member}')
            self._rules.define(name, f'"{{" ({member} {more}*)? "}}"')
            self._rules.shape(name, Shape(path, _WIDE))
        return name


def _bounds(alternative: Alternative, path: str) -> digits.Bounds:
    ends: dict[str, Decimal] = {}
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if name in alternative:
            ends[name] = Decimal(repr(alternative[name]))
            most = 10 ** (digits.MAX_INTEGER_DIGITS - 1)
            if abs(ends[name]) > most or digits.places_of(ends[name]) > digits.MAX_INTEGER_DIGITS:
                raise refused(step(path, name), f"needs more than {digits.MAX_INTEGER_DIGITS} digits")
    least, above = ends.get("minimum"), False
    if "exclusiveMinimum" in ends and (least is None or ends["exclusiveMinimum"] >= least):
        least, above = ends["exclusiveMinimum"], True
    most_, below = ends.get("maximum"), False
    if "exclusiveMaximum" in ends and (most_ is None or ends["exclusiveMaximum"] <= most_):
        most_, below = ends["exclusiveMaximum"], True
    return digits.Bounds(least, most_, above, below)


def counts(alternative: Alternative, least: str, most: str, path: str) -> tuple[int, int | None]:
    """Two keywords that bound a length. Raises Unsupported where no length is between them."""
    low, high = alternative.get(least, 0), alternative.get(most)
    if high is not None and high < low:
        raise refused(path, f"{least} is over {most}: nothing fulfils this")
    return low, high
