"""Looking at this machine for the doctor: all its effects. Best effort by field; unknown is None."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from edged.config.paths import state_dir, tls_files
from edged.config.schema import Config
from edged.doctor.compute import features
from edged.doctor.facts import (
    CertificateFacts,
    Facts,
    Frequency,
    InstalledModel,
    LimitAt,
    LlamaBuild,
    MemLock,
    OtherDisk,
    SwapDevice,
)
from edged.errors import ConfigError
from edged.hw import text
from edged.hw.cgroup import Hierarchy, hierarchy
from edged.hw.device import Device, block_device, device_of
from edged.hw.memory import tightest_limit
from edged.hw.mounts import Mount, mount_of, parse_mountinfo
from edged.hw.snapshot import HardwareSnapshot
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import Planned, plan_models
from edged.lifecycle.process import lazy_map_library
from edged.policy.plan import plan
from edged.policy.types import LoadPlan, Measured
from edged.service.certificate import load
from edged.store import receipt

_PROC, _SYS = Path("/proc"), Path("/sys")
_LLAMA = (
    "import llama_cpp, json; from llama_cpp import llama_cpp as c;"
    "print(json.dumps([llama_cpp.__version__, c.llama_print_system_info().decode()]))"
)
_LLAMA_TIMEOUT_S = 60.0  # from a cold SD card, the import reads some hundred files
_SYSTEMD_TIMEOUT_S = 5.0
_DISK_TYPES = ("ext4", "ext3", "xfs", "btrfs", "f2fs")


def gather(config: Config) -> Facts:
    """Measure, plan and look around. Raises ConfigError when the folders of `config` cannot be told."""
    measured = Calibration.load(state_dir(config) / "calibration.json").measured()
    planned = plan_models(config, measured)
    snapshot = with_known_rates(planned.snapshot, measured)
    mounts = parse_mountinfo(text.read(_PROC / "self" / "mountinfo") or "")
    return Facts(
        snapshot=snapshot,
        models=tuple(_installed(each, snapshot) for each in planned.plans),
        problems=planned.problems,
        unlimited=_unlimited(planned, measured),
        lazy_available=lazy_map_library() is not None,
        prefetch=config.loading.prefetch,
        reserve_bytes=int(config.memory.reserve),
        mounts=_mounts_of(snapshot, mounts),
        other_disks=tuple(_other_disks(snapshot, mounts, measured.bytes_per_s)),
        swaps=_swaps(text.read(_PROC / "swaps"), mounts, snapshot),
        limit=_limit(hierarchy("memory")),
        memlock=_memlock(),
        frequency=frequency(_SYS / "devices" / "system" / "cpu" / "cpu0" / "cpufreq"),
        llama=_llama(),
        certificate=certificate_facts(config),
        now_s=time.time(),
    )


def with_known_rates(snapshot: HardwareSnapshot, measured: Measured) -> HardwareSnapshot:
    """A rate that loads have measured, where the probe found nothing uncached to read."""
    storage = tuple(
        msgspec.structs.replace(each, sequential_bytes_per_s=measured.bytes_per_s.get(each.device or ""))
        if each.sequential_bytes_per_s is None
        else each
        for each in snapshot.storage
    )
    return msgspec.structs.replace(snapshot, storage=storage)


def frequency(cpufreq: Path) -> Frequency:
    """How the clock of a CPU is chosen, by its folder in sysfs."""
    return Frequency(
        governor=text.read(cpufreq / "scaling_governor") or None,
        driver=text.read(cpufreq / "scaling_driver") or None,
        available=tuple((text.read(cpufreq / "scaling_available_governors") or "").split()),
    )


def certificate_facts(config: Config) -> CertificateFacts | None:
    """The files of TLS, tried as the daemon does; None where it is not wanted."""
    files = tls_files(config)
    if files is None:
        return None
    certificate, key = map(str, files)
    if files[1].exists() and not os.access(key, os.R_OK):
        return CertificateFacts(certificate=certificate, key=key, hidden=True)
    try:
        found = load(*files)
    except ConfigError as error:
        return CertificateFacts(certificate=certificate, key=key, wrong=str(error))
    return CertificateFacts(
        certificate=certificate,
        key=key,
        fault=found.fault,
        valid_until_s=found.valid_until_s,
        exposed=found.exposed,
    )


def parse_swaps(content: str) -> Iterator[tuple[str, int]]:
    """Name and used bytes of each line of /proc/swaps. Never raises."""
    for line in content.splitlines()[1:]:
        fields = line.split()
        used_kib = text.integer(fields[3]) if len(fields) >= 4 else None
        if used_kib is not None:
            yield fields[0].replace("\\040", " "), used_kib << 10


def parse_unit(content: str) -> dict[str, str]:
    """`Name=value` lines of `systemctl show`."""
    return dict(line.split("=", 1) for line in content.splitlines() if "=" in line)


def limit_of_unit(properties: Mapping[str, str]) -> MemLock | None:
    """How much edged.service may lock; None when there is no such unit."""
    limit = properties.get("LimitMEMLOCK", "")
    if properties.get("LoadState") != "loaded" or not (limit == "infinity" or limit.isdigit()):
        return None
    as_root = properties.get("User", "") in ("", "root")  # CAP_IPC_LOCK: no limit holds
    unlimited = limit == "infinity" or as_root
    return MemLock(limit_bytes=None if unlimited else int(limit), owner="edged.service")


def _installed(each: LoadPlan, snapshot: HardwareSnapshot) -> InstalledModel:
    path = Path(each.path)
    pulled = receipt.read(path)
    if pulled is None:
        return InstalledModel(plan=each, file=snapshot.file(each.path), receipt="none")
    changed = receipt.changed_since_pull(path)
    return InstalledModel(
        plan=each,
        file=snapshot.file(each.path),
        receipt="changed" if changed else "ok",
        origin=pulled.origin,
    )


def _unlimited(planned: Planned, measured: Measured) -> tuple[LoadPlan, ...]:
    """The plans as they would be without the cgroup's memory limit."""
    snapshot = with_known_rates(planned.snapshot, measured)
    memory = msgspec.structs.replace(snapshot.memory, cgroup_limit_bytes=None, cgroup_used_bytes=None)
    snapshot = msgspec.structs.replace(snapshot, memory=memory)
    return plan(snapshot, planned.inputs, planned.settings, measured)


def _mounts_of(snapshot: HardwareSnapshot, mounts: Sequence[Mount]) -> dict[str, Mount]:
    found = {each.path: mount_of(each.path, mounts) for each in snapshot.storage}
    return {path: mount for path, mount in found.items() if mount is not None}


def _other_disks(
    snapshot: HardwareSnapshot, mounts: Sequence[Mount], rates: Mapping[str, float]
) -> Iterator[OtherDisk]:
    """Each disk once: those with models for the models on other ones, and mounted ones without any."""
    of_models = {each.device: each for each in snapshot.storage}
    seen = set()
    for mount in mounts:
        if mount.fs_type not in _DISK_TYPES or mount.point.startswith("/boot"):
            continue
        disk = block_device(mount.device)
        if disk is None or disk.name is None or disk.name in seen or not os.access(mount.point, os.X_OK):
            continue
        seen.add(disk.name)
        known = of_models.get(disk.name)
        yield OtherDisk(
            point=mount.point,
            device=disk.name,
            kind=disk.kind,
            free_bytes=shutil.disk_usage(mount.point).free,
            bytes_per_s=known.sequential_bytes_per_s if known else rates.get(disk.name),
        )


def _swaps(
    content: str | None, mounts: Sequence[Mount], snapshot: HardwareSnapshot
) -> tuple[SwapDevice, ...] | None:
    if content is None:
        return None
    rates = {each.device: each.sequential_bytes_per_s for each in snapshot.storage}
    swaps = []
    for name, used_bytes in parse_swaps(content):
        device = _device_of_swap(Path(name), mounts)
        rate = rates.get(device.name) if device.name else None
        swaps.append(SwapDevice(name=name, kind=device.kind, used_bytes=used_bytes, bytes_per_s=rate))
    return tuple(swaps)


def _device_of_swap(path: Path, mounts: Sequence[Mount]) -> Device:
    """A swap file's disk, or the disk that a swap partition is part of."""
    unknown = Device(key=str(path))
    try:
        number = path.stat().st_rdev
        if number == 0:
            return device_of(path, mounts)
    except OSError:
        return unknown
    return block_device(f"{os.major(number)}:{os.minor(number)}") or unknown


def _limit(cgroup: Hierarchy | None) -> LimitAt | None:
    """The limit that leaves the least room, and where it is set; of equal ones the outermost."""
    if cgroup is None:
        return None
    found = []
    for folder in reversed(cgroup.folders):
        limit = tightest_limit(Hierarchy(version=cgroup.version, folders=(folder,)))
        if limit is not None:
            found.append((limit, folder))
    if not found:
        return None
    limit, folder = min(found, key=lambda each: each[0].room_bytes)
    return LimitAt(
        folder=folder, version=cgroup.version, limit_bytes=limit.limit_bytes, used_bytes=limit.used_bytes
    )


def _memlock() -> MemLock:
    """The service's limit where it is installed, else this shell's."""
    if Path("/run/systemd/system").is_dir():
        shown = _output(
            ["systemctl", "show", "edged.service", "--property=LoadState,LimitMEMLOCK,User"],
            _SYSTEMD_TIMEOUT_S,
        )
        unit = limit_of_unit(parse_unit(shown or ""))
        if unit is not None:
            return unit
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY or os.geteuid() == 0
    return MemLock(limit_bytes=None if unlimited else soft, owner="this shell")


def _llama() -> LlamaBuild | None:
    """Asked in a process of its own: the import may end a process on a CPU that it was not built for."""
    said = _output([sys.executable, "-c", _LLAMA], _LLAMA_TIMEOUT_S)
    try:
        version, info = msgspec.json.decode((said or "").strip().rpartition("\n")[2], type=tuple[str, str])
    except msgspec.MsgspecError:
        return None
    return LlamaBuild(version=version, features=features(info))


def _output(command: Sequence[str], timeout_s: float) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
