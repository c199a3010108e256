"""`keep_alive` as clients of ollama send it."""

import math
from typing import Any

import pytest

from edged.api.keep_alive import keep_alive_s
from edged.errors import InvalidRequest


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0.0),
        (300, 300.0),
        (1.5, 1.5),
        (-1, math.inf),
        ("0", 0.0),
        ("300", 300.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("+10s", 10.0),
        ("-1", math.inf),
        ("-1m", math.inf),
        (None, None),
    ],
)
def test_seconds(given: Any, seconds: float | None) -> None:
    assert keep_alive_s(given) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "given", ["", "m", "5 m", "5x", "1m30", "--1s", "1e3", "nan", True, [], {}, 1e300, "9" * 5000]
)
def test_what_is_no_duration_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="keep_alive: is neither") as caught:
        keep_alive_s(given)
    assert caught.value.param == "keep_alive"
