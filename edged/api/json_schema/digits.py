"""Numbers between bounds as the texts that write them, digit by digit."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from edged.api.json_schema.regular import Expression, Language

MAX_DIGITS = 15  # decimal numbers with so many are told apart by every double
MAX_INTEGER_DIGITS = 20  # what 64 bits hold
_FRACTION_DIGITS = 6  # offered where the bounds do not need more


@dataclass(frozen=True)
class Bounds:
    """Which numbers; None: no bound on that side."""

    least: Decimal | None = None
    most: Decimal | None = None
    above: bool = False  # `least` itself is not among them
    below: bool = False

    def scaled(self, places: int, digits: int) -> tuple[int, int]:
        """The first and last whole multiple of 10^-places of at most `digits` digits, as whole numbers."""
        end = 10**digits - 1
        low, high = -end, end
        if self.least is not None:
            exact = self.least.scaleb(places)
            low = int(exact.to_integral_value(ROUND_CEILING))
            low += self.above and low == exact
        if self.most is not None:
            exact = self.most.scaleb(places)
            high = int(exact.to_integral_value(ROUND_FLOOR))
            high -= self.below and high == exact
        return max(low, -end), min(high, end)


def integers(language: Language, bounds: Bounds) -> Expression:
    """Whole numbers, without a point."""
    given = [len(str(abs(int(end)))) for end in (bounds.least, bounds.most) if end is not None]
    low, high = bounds.scaled(0, max([MAX_DIGITS, *given]))
    return _signed(language, low, high, 0)


def decimals(language: Language, bounds: Bounds) -> Expression:
    """Numbers with as many places as the bounds have, or a few."""
    given = [places_of(end) for end in (bounds.least, bounds.most) if end is not None]
    ways = []
    for places in range(max([_FRACTION_DIGITS, *given]) + 1):
        low, high = bounds.scaled(places, MAX_DIGITS)
        ways.append(_signed(language, low, high, places))
    return language.either(ways)


def fits_doubles(bounds: Bounds) -> bool:
    """Whether no number near a bound needs more digits than a double holds."""
    ends = [end for end in (bounds.least, bounds.most) if end is not None]
    places = max([0, *map(places_of, ends)])
    return all(len(str(abs(int(end)))) + places <= MAX_DIGITS for end in ends)


def places_of(number: Decimal) -> int:
    """How many digits it has behind the point."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _signed(language: Language, low: int, high: int, places: int) -> Expression:
    """Numbers times 10^places from `low` to `high`. A zero has no sign."""
    ways = []
    if low < 0 and low <= high:
        negative = _unsigned(language, max(1, -high), -low, places)
        ways.append(language.sequence([language.text("-"), negative]))
    if high >= 0 and low <= high:
        ways.append(_unsigned(language, max(0, low), high, places))
    return language.either(ways)


def _unsigned(language: Language, low: int, high: int, places: int) -> Expression:
    ways = []
    for length in range(max(len(str(low)), places + 1), max(len(str(high)), places + 1) + 1):
        first = 10 ** (length - 1) if length > places + 1 else 0  # no leading zero but before the point
        least, most = max(low, first), min(high, 10**length - 1)
        if least <= most:
            ways.append(_between(language, _text(least, length, places), _text(most, length, places)))
    return language.either(ways)


def _text(number: int, length: int, places: int) -> str:
    digits = str(number).rjust(length, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def _between(language: Language, low: str, high: str) -> Expression:
    """The texts from `low` to `high`, which are equally long and have their point at the same place."""
    if not low:
        return language.empty
    if low[0] == high[0]:
        same = language.text(low[0])
        return language.sequence([same, _between(language, low[1:], high[1:])])
    lowest = "".join("." if each == "." else "0" for each in low[1:])
    highest = "".join("." if each == "." else "9" for each in low[1:])
    first, last = ord(low[0]), ord(high[0])
    ways = []
    if low[1:] != lowest:
        ways.append(language.sequence([language.text(low[0]), _between(language, low[1:], highest)]))
        first += 1
    if high[1:] != highest:
        ways.append(language.sequence([language.text(high[0]), _between(language, lowest, high[1:])]))
        last -= 1
    if first <= last:
        free = [language.text(".") if each == "." else language.characters([(48, 57)]) for each in lowest]
        ways.append(language.sequence([language.characters([(first, last)]), *free]))
    return language.either(ways)
