"""What models can be asked to give up when memory is short, and get back when it no longer is."""

import logging
import time

from edged.errors import RunnerFailed, Unavailable
from edged.hw.memory import held_bytes
from edged.lifecycle.handle import RunnerHandle
from edged.lifecycle.pool import Pool
from edged.policy.account import Account, Claim

log = logging.getLogger(__name__)

_IDLE_S = 5.0  # who asked a moment ago asks again
_COOL_S = 10.0


class Relief:
    """Acts on all models; for one thread."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def short_bytes(self) -> int:
        """What the models hold beyond what they may at this moment; below 0: room.

        What cooled models gave back counts as theirs for admission, since they take it again at their next
        request; here it does not, or giving it back would be in vain.
        """
        account = self._pool.admission.look()
        return -account.room_bytes - sum(self._given_back(account).values())

    def reserve_bytes(self) -> int:
        """What is to be left to everything else."""
        return self._pool.admission.reserve_bytes

    def stalls_by_design(self) -> bool:
        """Whether a model is in use whose file does not fit: it waits for its pages, whatever others do."""
        return any(handle.plan.paged and _is_in_use(handle) for handle in self._pool.handles.values())

    def read_ahead(self, *, allowed: bool) -> None:
        """Let runners read ahead of use, or not; and one be started ahead of its use, or not."""
        if not allowed:
            self._pool.standby.give_up()
        for handle in self._pool.handles.values():
            handle.read_ahead(allowed=allowed)

    def cool(self, *, shrink: bool) -> None:
        """Let models that nobody uses give back pages, or their contexts as well. Pinned ones are left."""
        for model, handle in self._pool.handles.items():
            done = handle.status().cooled
            if done == "context" or (done == "pages" and not shrink) or handle.residence.is_pinned:
                continue
            if not _is_idle(handle):
                continue
            try:
                handle.cool(time.monotonic() + _COOL_S, shrink=shrink)
            except (Unavailable, RunnerFailed) as error:
                log.debug("%s: is not cooled: %s", model, error)

    def unload(self, lacking_bytes: int) -> None:
        """Let models leave that hold so many bytes, at the least cost; busy ones after their requests."""
        admission = self._pool.admission
        admission.relieve(lacking_bytes, self._given_back(admission.account))

    def refuse_loads(self, why: str | None) -> None:
        """Refuse to load anything, or (None) do so no longer."""
        self._pool.admission.refuse_loads(why)

    def recover(self) -> None:
        """Load again what is to be loaded at start and had to leave."""
        gone = [
            model
            for model, handle in self._pool.handles.items()
            if handle.plan.load_at_start
            and handle.status().state == "unloaded"
            and handle.status().unloaded_by == "pressure"
        ]
        try:
            self._pool.load_all(gone, "evicted")
        except Unavailable as error:
            log.debug("nothing is loaded again: %s", error)

    def _given_back(self, account: Account) -> dict[str, int]:
        """What of their claims models do not hold at present."""
        return {
            model: _given_back_bytes(handle, account.loaded[model])
            for model, handle in self._pool.handles.items()
            if model in account.loaded
        }


def _is_idle(handle: RunnerHandle) -> bool:
    """Whether a loaded model has had nothing to do for a while."""
    return handle.status().state == "ready" and handle.residence.idle_s >= _IDLE_S


def _is_in_use(handle: RunnerHandle) -> bool:
    return handle.status().state in ("loading", "ready") and not _is_idle(handle)


def _given_back_bytes(handle: RunnerHandle, claim: Claim) -> int:
    """What of its claim a model does not hold, because its runner was cooled."""
    status = handle.status()
    if status.cooled is None:
        return 0
    freed_bytes = max(0, claim.hot_bytes - handle.plan.mlock_bytes)
    if status.cooled == "context" and status.pid is not None:
        freed_bytes += max(0, claim.anon_bytes + handle.plan.mlock_bytes - held_bytes([status.pid]))
    return freed_bytes
