"""`keep_alive`, ollama's field: how long a model stays loaded when nobody asks it any more."""

import math
import re
from typing import Any

from edged.errors import InvalidRequest

# A duration as Go writes it, since ollama takes those: `5m`, `1h30m`, `-1s`; a bare number counts seconds.
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{0,9})?"
_PIECE = re.compile(rf"({_NUMBER})({'|'.join(sorted(_UNITS_S, key=len, reverse=True))})")
_DURATION = re.compile(rf"([+-]?)((?:{_PIECE.pattern})+|{_NUMBER})")


def keep_alive_s(wanted: Any) -> float | None:
    """The field's value in seconds; infinite where it is negative, None where nothing is said.

    Raises InvalidRequest.
    """
    if wanted is None:
        return None
    seconds = _seconds(wanted)
    if seconds is None:
        raise InvalidRequest(
            "keep_alive: is neither a number of seconds nor a duration such as `10m`; 0 unloads the model"
            " after the answer, -1 keeps it",
            "keep_alive",
        )
    return math.inf if seconds < 0 else seconds


def _seconds(wanted: Any) -> float | None:
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return float(wanted) if abs(wanted) < 1e12 else None
    found = _DURATION.fullmatch(wanted) if isinstance(wanted, str) else None
    if found is None:
        return None
    sign, text = -1 if found[1] == "-" else 1, found[2]
    pieces = _PIECE.findall(text)
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in pieces) if pieces else float(text)
    return sign * total_s
