"""How far edged gives way when memory is short: one step at a time, each harder for those who use it.

Two signs count. The models hold more than they may at this moment (`short_bytes`, from the account of all
memory): then every step may follow. Tasks stall for memory though the account says that all just fits: then
only the gentle ones, since nothing proves that the models are the cause.

No flapping: a step is taken back only when it has been calm for a while, with room to spare, and where
pressure returns soon after that, the next one waits twice as long. With plenty of room it goes quicker.
"""

from typing import Literal

import msgspec

Step = Literal["calm", "read_less", "cool", "shrink", "unload", "refuse"]

STEPS: tuple[Step, ...] = ("calm", "read_less", "cool", "shrink", "unload", "refuse")

STALLED_SHARE = 0.1  # of the time since the last look: a tenth is what people notice
CALM_SHARE = 0.02
SETTLE_S = 1.0  # until what a step has freed shows
CALM_S = 5.0
LONGEST_CALM_S = 300.0
RELAPSE_S = 60.0
_HURRY = 4.0  # with plenty of room nobody need be kept waiting
_HARDEST_FOR_STALLS = STEPS.index("shrink")
_AT_ONCE = STEPS.index("unload")
_ROOM_SHARE = 0.25  # of the reserve, that must be free beside it


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen at one look."""

    stalled_share: float  # of the time since the last look in which some task waited for memory
    short_bytes: int  # what models hold beyond what they may; below 0: room
    reserve_bytes: int  # what is left to everything else as long as `short_bytes` is not above 0

    @property
    def is_short(self) -> bool:
        """Whether models hold more than they may."""
        return self.short_bytes > 0

    @property
    def is_desperate(self) -> bool:
        """Whether the reserve is gone as well: the kernel is about to choose what goes."""
        return self.is_short and self.short_bytes >= self.reserve_bytes

    @property
    def has_plenty(self) -> bool:
        """Whether beside the reserve there is as much again: then who stalls does so within other limits."""
        return -self.short_bytes >= self.reserve_bytes

    @property
    def stalls(self) -> bool:
        """Whether tasks stall, maybe for what models hold."""
        return self.stalled_share >= STALLED_SHARE and not self.has_plenty

    @property
    def is_calm(self) -> bool:
        """Whether there is so much room that a step may be taken back."""
        roomy = -self.short_bytes >= self.reserve_bytes * _ROOM_SHARE
        return self.has_plenty or (roomy and self.stalled_share < CALM_SHARE)


class Strain(msgspec.Struct, frozen=True, kw_only=True):
    """Where edged stands, by the clock of the caller (seconds)."""

    level: int = 0  # index into STEPS
    changed_s: float = float("-inf")
    fell_s: float = float("-inf")  # when a step was last taken back
    calm_since_s: float | None = None
    wait_s: float = CALM_S  # for so long it has to be calm before the next step is taken back

    @property
    def step(self) -> Step:
        """The hardest step in force."""
        return STEPS[self.level]

    def reaches(self, step: Step) -> bool:
        """Whether a step is in force."""
        return self.level >= STEPS.index(step)


def after(strain: Strain, reading: Reading, now_s: float) -> Strain:
    """The next state."""
    if reading.is_desperate and strain.level < _AT_ONCE:
        return _risen(strain, _AT_ONCE, now_s)
    if reading.is_short or reading.stalls:
        hardest = len(STEPS) - 1 if reading.is_short else _HARDEST_FOR_STALLS
        if strain.level < hardest and now_s - strain.changed_s >= SETTLE_S:
            return _risen(strain, strain.level + 1, now_s)
        return msgspec.structs.replace(strain, calm_since_s=None)
    if not reading.is_calm:
        return msgspec.structs.replace(strain, calm_since_s=None)
    return _calm(strain, now_s, _HURRY if reading.has_plenty else 1.0)


def _risen(strain: Strain, level: int, now_s: float) -> Strain:
    relapse = now_s - strain.fell_s < RELAPSE_S
    return msgspec.structs.replace(
        strain,
        level=level,
        changed_s=now_s,
        calm_since_s=None,
        fell_s=float("-inf"),
        wait_s=min(LONGEST_CALM_S, 2 * strain.wait_s) if relapse else strain.wait_s,
    )


def _calm(strain: Strain, now_s: float, hurry: float) -> Strain:
    """Calm goes on: one step back after each wait, and what relapses have taught is forgotten in the end."""
    since_s = now_s if strain.calm_since_s is None else strain.calm_since_s
    calm_s = now_s - since_s
    if strain.level == 0:
        wait_s = CALM_S if calm_s >= LONGEST_CALM_S else strain.wait_s
        return msgspec.structs.replace(strain, calm_since_s=since_s, wait_s=wait_s)
    if calm_s < strain.wait_s / hurry:
        return msgspec.structs.replace(strain, calm_since_s=since_s)
    return msgspec.structs.replace(
        strain, level=strain.level - 1, changed_s=now_s, fell_s=now_s, calm_since_s=now_s
    )
