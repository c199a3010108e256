"""What edged is doing, as one line for `systemctl status`."""

import time
from collections.abc import Callable, Sequence

from edged.lifecycle.status import ModelStatus

_RATE_OVER_S = 3.0
_MOST_OF_A_REASON = 160
_SILENCE_SHOWN_S = 5.0


class Briefing:
    """Remembers what it saw, to tell rates. For one thread, asked about once a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, list[tuple[float, int]]] = {}  # when how many bytes had been read, by model

    def line(self, statuses: Sequence[ModelStatus]) -> str:
        """Models by what they do, those that load first."""
        if not statuses:
            return "no models are configured"
        loading = [f"loading {self._progress(each)}" for each in statuses if each.state == "loading"]
        serving = [each.model + self._behind(each) for each in statuses if each.state == "ready"]
        failed = [
            f"{each.model} failed: {_short(each.reason)}" for each in statuses if each.state == "failed"
        ]
        idle = [each.model for each in statuses if each.state in ("unloaded", "unloading")]
        parts = [
            *loading,
            *_list("serving", serving),
            *failed,
            *_list("on demand:", idle),
        ]
        return "; ".join(parts)

    def _progress(self, status: ModelStatus) -> str:
        """`smollm2 43 % (42.3 of 98.4 MB, 18.2 MB/s, 3 s left)`."""
        details = []
        share = ""
        if status.bytes_total and not status.prefetch_done:
            share = f" {100 * status.bytes_done / status.bytes_total:.0f} %"
            details.append(f"{status.bytes_done / 1e6:.1f} of {status.bytes_total / 1e6:.1f} MB")
            if (rate := self._bytes_per_s(status)) is not None:
                details.append(f"{rate / 1e6:.1f} MB/s")
        elif status.phase is not None:
            details.append(status.phase)
        if status.silent_s >= _SILENCE_SHOWN_S:
            details.append(f"nothing has moved for {status.silent_s:.0f} s")
        elif status.remaining_s is not None:
            details.append(f"{status.remaining_s:.0f} s left")
        return status.model + share + (f" ({', '.join(details)})" if details else "")

    def _behind(self, status: ModelStatus) -> str:
        """How far the reader behind a model that serves already is."""
        if not status.bytes_total or status.prefetch_done:
            return ""
        return f" ({100 * status.bytes_done / status.bytes_total:.0f} % read)"

    def _bytes_per_s(self, status: ModelStatus) -> float | None:
        """Over the last seconds; None while there is nothing to compare with."""
        now_s = self._clock()
        seen = self._seen.setdefault(status.model, [])
        if seen and status.bytes_done < seen[-1][1]:
            seen.clear()  # another load
        seen.append((now_s, status.bytes_done))
        while now_s - seen[0][0] > _RATE_OVER_S and len(seen) > 2:
            seen.pop(0)
        began_s, began_bytes = seen[0]
        return None if now_s <= began_s else (status.bytes_done - began_bytes) / (now_s - began_s)


def _short(reason: str | None) -> str:
    text = reason or "unknown"
    return text if len(text) <= _MOST_OF_A_REASON else text[: _MOST_OF_A_REASON - 1] + "…"


def _list(what: str, models: Sequence[str]) -> list[str]:
    return [f"{what} {', '.join(models)}"] if models else []
