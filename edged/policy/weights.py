"""Which weight format a model gets that is converted on this machine. Pure."""

from collections.abc import Mapping
from typing import TypeVar

Format = TypeVar("Format", bound=str)

# A format of twice the bytes must be clearly faster to be worth its memory and its slower cold start.
LEAST_RATIO = 1.1


def choose_weights(
    default: Format, seconds_per_token: Mapping[Format, float], storage_kind: str | None
) -> tuple[Format, str]:
    """The fastest format and why, unless the default is nearly as fast or the storage is an SD card.

    There the default, being the smallest, answers sooner after every start.
    """
    shown = ", ".join(f"{weights} {1 / cost:.0f}" for weights, cost in seconds_per_token.items())
    fastest = min(seconds_per_token, key=lambda weights: seconds_per_token[weights])
    ratio = seconds_per_token[default] / seconds_per_token[fastest]
    if ratio < LEAST_RATIO:
        return default, f"weights {default}: as fast as any on this CPU ({shown} tokens/s)"
    if storage_kind == "sd":
        return default, (
            f"weights {default}: {fastest} is {ratio:.2f} times as fast on this CPU ({shown} tokens/s), but "
            "an SD card would take longer to read it after every start"
        )
    return (
        fastest,
        f"weights {fastest}: {ratio:.2f} times as fast as {default} on this CPU ({shown} tokens/s)",
    )
