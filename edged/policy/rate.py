"""Which rate of a storage to believe: what the probe has just measured, or what loads got before.

A load reads for seconds where the probe reads for a fraction of one, so it is the better measurement, as
long as the fresh one does not deny it. Where they differ too much, the card was changed, the machine is busy
or several loads shared the storage: then what is true now counts. The next load that has to wait for the
storage replaces what is remembered.
"""

import msgspec

from edged.config.units import format_rate
from edged.hw.snapshot import StorageFacts
from edged.policy.types import Measured

_SAME_SHARE = 0.1  # nearer than this, the difference is not worth a word
# A load's share of the probed rate that is believed: two that load together get half of it each.
_LEAST_SHARE, _MOST_SHARE = 0.6, 2.0
# A limit's first burst lasts 0.1 s: a probe that was done sooner may have seen nothing else. Nor has it
# seen readahead at its full speed.
_BRIEF_S = 0.1
_LEAST_SHARE_OF_BRIEF, _MOST_SHARE_OF_BRIEF = 0.25, 4.0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A storage's sequential rate, None where unknown, and why it is not what the probe measured, if so."""

    bytes_per_s: float | None
    reason: str = ""


def rate_of(storage: StorageFacts | None, measured: Measured) -> Rate:
    """The rate to plan with."""
    if storage is None:
        return Rate(bytes_per_s=None)
    probed = storage.sequential_bytes_per_s or None
    loaded = measured.bytes_per_s.get(storage.device) if storage.device is not None else None
    if loaded is None:
        return Rate(bytes_per_s=probed)
    if storage.limit_bytes_per_s is not None:
        loaded = min(loaded, storage.limit_bytes_per_s)  # it may be newer than that load
    if probed is None:
        return Rate(bytes_per_s=loaded, reason=f"not measured now: the last load got {format_rate(loaded)}")
    if abs(loaded / probed - 1) <= _SAME_SHARE:
        return Rate(bytes_per_s=probed)
    found = f"the probe measured {format_rate(probed)}, the last load got {format_rate(loaded)}"
    if _agrees(loaded / probed, storage.measured_bytes / probed):
        return Rate(bytes_per_s=loaded, reason=f"{found}, which is believed: it read for longer")
    return Rate(
        bytes_per_s=probed,
        reason=f"{found}: too different to be the same storage with the same work, so the probe is believed",
    )


def _agrees(share: float, probe_s: float) -> bool:
    if probe_s < _BRIEF_S:
        return _LEAST_SHARE_OF_BRIEF <= share <= _MOST_SHARE_OF_BRIEF
    return _LEAST_SHARE <= share <= _MOST_SHARE
