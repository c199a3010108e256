"""What the storage under the models does to a cold start. Pure: facts in, a finding or None out."""

import shlex
from collections.abc import Sequence

from edged.config.units import format_bytes, format_rate, format_seconds
from edged.doctor.facts import Finding, InstalledModel, OtherDisk
from edged.hw.mounts import Mount
from edged.hw.snapshot import StorageFacts

_PAGE_BYTES = 4096
_LEAST_WINDOW_BYTES = 128 << 10  # Linux's default
_MOST_WINDOW_BYTES = 4 << 20  # more only wastes reads around single rows
_LATENCY_SHARE = 0.1  # of the time that a good window takes to read
_WORTH_A_WORD_S = 0.05
_WORTH_A_WORD_SHARE = 0.05
_CLEARLY_FASTER = 1.5
_LEAST_FREE_BYTES = 128 << 20
_SPEED_RANK = {"hdd": 1, "sd": 1, "emmc": 2, "usb": 2, "ssd": 3, "nvme": 4}
_COMPRESSING_TYPES = ("squashfs", "erofs", "cramfs")
_UNCACHED_9P = ("cache=none", "cache=0x0")


def readahead(storage: StorageFacts, faulted_bytes: int, read_bytes: int) -> Finding | None:
    """A readahead window that is too small for bytes that come page by page, as they are touched.

    A window takes `latency + window / rate`. `read_bytes` come through edged's reader, which the setting
    only slows when it is 0: the kernel then reads single pages.
    """
    window_bytes = storage.readahead_bytes
    if window_bytes is None or storage.device is None:
        return None
    slowed_bytes = faulted_bytes + (read_bytes if window_bytes < _PAGE_BYTES else 0)
    latency_s, rate = storage.random_latency_s, storage.sequential_bytes_per_s
    if slowed_bytes == 0:
        return None
    if latency_s is None or rate is None:
        return _readahead_unknown(storage) if window_bytes < _LEAST_WINDOW_BYTES else None
    good_bytes = good_window_bytes(latency_s, rate)
    cost_s = slowed_bytes * latency_s * (1 / max(window_bytes, _PAGE_BYTES) - 1 / good_bytes)
    if cost_s < max(_WORTH_A_WORD_S, _WORTH_A_WORD_SHARE * slowed_bytes / rate):
        return None
    return Finding(
        check="readahead",
        level="problem",
        what=f"the kernel reads {window_bytes >> 10} KiB ahead on {storage.device} ({storage.path}),"
        f" where {good_bytes >> 10} KiB would hide its latency of {latency_s * 1e3:.2f} ms",
        cost=f"{format_seconds(cost_s)} for the {format_bytes(slowed_bytes)} that a cold start reads there"
        f" page by page (at {format_rate(rate)} otherwise)",
        cost_s=cost_s,
        fix=_set_readahead(storage.device, good_bytes >> 10),
    )


def good_window_bytes(latency_s: float, bytes_per_s: float) -> int:
    """The least power of two that hides the latency behind the transfer."""
    window_bytes = _LEAST_WINDOW_BYTES
    while window_bytes < _MOST_WINDOW_BYTES and latency_s > _LATENCY_SHARE * window_bytes / bytes_per_s:
        window_bytes *= 2
    return window_bytes


def rate_unknown(storage: StorageFacts, models: Sequence[InstalledModel]) -> Finding | None:
    """Nothing can be predicted, and no cost be told, of a storage whose rate is not known."""
    if storage.sequential_bytes_per_s is not None or storage.kind == "memory" or not models:
        return None
    names = " ".join(model.plan.model for model in models)
    return Finding(
        check="storage_rate",
        level="unknown",
        what=f"how fast {storage.path} delivers could not be measured: what loads read of {names} is cached"
        " (or the probe had no time for it)",
        cost="unknown",
    )


def network_storage(storage: StorageFacts, models: Sequence[InstalledModel]) -> Finding | None:
    """Models that come over the network at every cold start."""
    if storage.kind != "network" or not models:
        return None
    wanted_bytes, rate = sum(model.wanted_bytes for model in models), storage.sequential_bytes_per_s
    cost_s = wanted_bytes / rate if rate else None
    return Finding(
        check="network_storage",
        level="problem",
        what=f"{_names(models)} on a network mount ({storage.path}): a cold start waits for the network, and"
        " a mount that hangs ends in a runner that hangs",
        cost="unknown: its rate could not be measured"
        if cost_s is None or rate is None
        else f"{format_seconds(cost_s)} to read {format_bytes(wanted_bytes)} at {format_rate(rate)}",
        cost_s=cost_s,
        fix=_move(models, "/var/lib/edged/models"),
    )


def slower_disk(
    storage: StorageFacts, models: Sequence[InstalledModel], others: Sequence[OtherDisk]
) -> Finding | None:
    """Models on a disk although a faster one, by measurement or else by kind, has room for them."""
    wanted_bytes, size_bytes = _wanted(models), sum(model.size_bytes for model in models)
    needed_bytes = size_bytes + _LEAST_FREE_BYTES
    roomy = [o for o in others if o.device != storage.device and o.free_bytes > needed_bytes]
    if not models or not roomy:
        return None
    rate = storage.sequential_bytes_per_s
    measured = [(other.bytes_per_s, other) for other in roomy if other.bytes_per_s is not None]
    if rate and measured:
        best_rate, best = max(measured, key=lambda pair: pair[0])
        cost_s = wanted_bytes / rate - wanted_bytes / best_rate
        if best_rate >= _CLEARLY_FASTER * rate and cost_s >= _WORTH_A_WORD_S:
            return Finding(
                check="slower_disk",
                level="problem",
                what=f"{_names(models)} on {storage.device} ({format_rate(rate)}), and {best.device}"
                f" at {best.point} delivers {format_rate(best_rate)}",
                cost=f"{format_seconds(cost_s)} for the {format_bytes(wanted_bytes)} of a cold start",
                cost_s=cost_s,
                fix=_move(models, f"{best.point.rstrip('/')}/edged-models"),
            )
    own_rank = _SPEED_RANK.get(storage.kind, 0)
    unmeasured = [other for other in roomy if other.bytes_per_s is None]
    other = max(unmeasured, key=lambda each: _SPEED_RANK.get(each.kind, 0), default=None)
    if other is None or not own_rank or _SPEED_RANK.get(other.kind, 0) <= own_rank:
        return None
    return Finding(
        check="slower_disk",
        level="hint",
        what=f"{_names(models)} on {storage.device} ({storage.kind}), and {other.device} at {other.point}"
        f" is of a kind that is faster ({other.kind})",
        cost="unknown: no model has been read from there yet",
        fix=_move(models, f"{other.point.rstrip('/')}/edged-models"),
    )


def filesystem(mount: Mount, storage: StorageFacts, models: Sequence[InstalledModel]) -> Finding | None:
    """File systems that decompress what they read, or keep it elsewhere than in the page cache."""
    if not models:
        return None
    rate = storage.sequential_bytes_per_s
    in_rate = f"unknown; part of the measured {format_rate(rate)}" if rate else "unknown: not measured"
    files = " ".join(shlex.quote(model.plan.path) for model in models)
    where = f"{_names(models)} on {mount.fs_type} ({mount.point})"
    if mount.fs_type == "zfs":
        return Finding(
            check="filesystem",
            level="hint",
            what=f"{where}, which keeps a cache of its own: mapped files are in memory twice",
            cost=f"up to {format_bytes(_wanted(models))} of memory; time unknown",
            fix=("echo $((256 << 20)) | sudo tee /sys/module/zfs/parameters/zfs_arc_max",),
        )
    if mount.fs_type == "btrfs" and any(option.startswith("compress") for option in mount.options):
        return Finding(
            check="filesystem",
            level="hint",
            what=f"{where} with compression: weights hardly shrink, reading them may cost the CPU",
            cost=in_rate,
            fix=(
                *(f"sudo btrfs property set {shlex.quote(m.plan.path)} compression none" for m in models),
                f"sudo btrfs filesystem defragment {files}",
            ),
        )
    if mount.fs_type in _COMPRESSING_TYPES:
        return Finding(
            check="filesystem",
            level="problem",
            what=f"{where}, which decompresses what it reads: weights hardly shrink, and the CPU pays",
            cost=in_rate,
            fix=_move(models, "/var/lib/edged/models"),
        )
    uncached_9p = mount.fs_type == "9p" and not any(
        option.startswith("cache=") and option not in _UNCACHED_9P for option in mount.options
    )
    if uncached_9p:
        return Finding(
            check="filesystem",
            level="problem",
            what=f"{where} without a page cache: every start and every pass reads from the host again",
            cost=in_rate,
            fix=(f"sudo mount -o remount,cache=mmap {shlex.quote(mount.point)}",),
        )
    return None


def free_space(storage: StorageFacts) -> Finding | None:
    """A disk that is nearly full."""
    if storage.free_bytes is None or storage.free_bytes >= _LEAST_FREE_BYTES or storage.kind == "memory":
        return None
    return Finding(
        check="free_space",
        level="problem",
        what=f"only {format_bytes(storage.free_bytes)} are free at {storage.path}",
        cost="no time; pulls fail, and what loads took may not be kept for the next prediction",
        fix=("sudo apt-get clean", "sudo journalctl --vacuum-size=50M"),
    )


def _readahead_unknown(storage: StorageFacts) -> Finding:
    return Finding(
        check="readahead",
        level="hint",
        what=f"the kernel reads only {(storage.readahead_bytes or 0) >> 10} KiB ahead on {storage.device}"
        f" ({storage.path}); its default is {_LEAST_WINDOW_BYTES >> 10} KiB",
        cost="unknown: rate and latency of this storage could not be measured",
        fix=_set_readahead(storage.device or "", _LEAST_WINDOW_BYTES >> 10),
    )


def _set_readahead(device: str, kib: int) -> tuple[str, ...]:
    """Now, and after every boot."""
    rule = f'ACTION=="add|change", KERNEL=="{device}", ATTR{{queue/read_ahead_kb}}="{kib}"'
    return (
        f"echo {kib} | sudo tee /sys/block/{device}/queue/read_ahead_kb",
        f"echo {shlex.quote(rule)} | sudo tee /etc/udev/rules.d/60-edged-readahead.rules",
    )


def _move(models: Sequence[InstalledModel], folder: str) -> tuple[str, ...]:
    files = " ".join(shlex.quote(model.plan.path) for model in models)
    target = shlex.quote(folder)
    return (
        f"sudo mkdir -p {target} && sudo cp -a {files} {target}",
        f"edged run --set storage.model_dir={target}",
    )


def _names(models: Sequence[InstalledModel]) -> str:
    names = ", ".join(model.plan.model for model in models)
    return f"{names} {'lies' if len(models) == 1 else 'lie'}"


def _wanted(models: Sequence[InstalledModel]) -> int:
    return sum(model.wanted_bytes for model in models)
