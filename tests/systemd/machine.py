"""A machine for one test run: a real systemd in a container on an overlay of this machine. Needs root.

This machine's programs are all there inside, and nothing written inside reaches it. The container has a
network of its own, with nothing on it but the loopback interface.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from tests.systemd import groups
from tests.systemd.namespaces import SYSTEM_PATH, connect, entering, pid_inside
from tests.systemd.overlay import Overlay

PATIENCE_S = 60.0  # far longer than anything here takes, also on a busy machine
_FOLDERS = "/var/tmp"  # on a disk: /tmp may be in RAM
_SYSTEMD = Path("/lib/systemd/systemd")
_TOOLS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "setpriv": "util-linux"}
_ASKS_FOR_REBOOT = 133  # systemd-nspawn --keep-unit leaves it to its caller
_PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private")
# Join the groups, mount, become systemd-nspawn, whose state in /run must not meet this machine's.
_JOIN_MOUNT_AND_EXEC = """
set -e
options=$1 root=$2 n=$3
shift 3
while [ "$n" -gt 0 ]; do
  mkdir "$1"
  echo $$ >"$1/cgroup.procs"
  shift
  n=$((n - 1))
done
mount -t overlay -o "$options" overlay "$root"
mount -t tmpfs -o mode=755 tmpfs /run
exec "$@"
"""
_numbers = itertools.count()


class Machine:
    """Booted when the context is entered; gone, with everything it made, when the context ends.

    `read_only` binds paths of this machine: where they lie here -> where they appear inside.
    """

    def __init__(self, read_only: Mapping[Path, str]) -> None:
        self._read_only = dict(read_only)
        self.name = f"{groups.PREFIX}-{os.getpid()}-{next(_numbers)}"
        roots = groups.hierarchies(Path("/proc/self/mounts").read_text())
        groups.remove_stale(roots)
        _remove_stale_folders()
        self._groups = tuple(root / self.name for root in roots)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._known_leader: int | None = None

    def __enter__(self) -> "Machine":
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=_FOLDERS))
        try:
            self.overlay = Overlay(self._folder)
            self.overlay.prepare(self.name)
            self.start()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def start(self) -> None:
        """Boot, and wait until systemd has started everything."""
        joined = [str(group) for group in self._groups]
        arguments = [self.overlay.options, str(self.overlay.root), str(len(joined)), *joined]
        launch = [*_PRIVATE_MOUNTS, "/bin/sh", "-c", _JOIN_MOUNT_AND_EXEC, "sh", *arguments]
        with (self._folder / "log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                # should this process be killed, the container shuts down
                ["setpriv", "--pdeathsig", "TERM", *launch, *self._nspawn_command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # cgroup v2 alone inside, whatever this machine has
                env={"PATH": SYSTEM_PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self._wait_booted()

    def _nspawn_command(self) -> list[str]:
        return [
            *("systemd-nspawn", f"--directory={self.overlay.root}", "--boot", "--private-network"),
            *(f"--machine={self.name}", f"--hostname={self.name}", "--console=pipe"),
            *("--register=no", "--keep-unit", "--settings=no", "--link-journal=no"),
            *("--timezone=off", "--resolv-conf=off", "--kill-signal=SIGRTMIN+3"),
            # units' IPAddressDeny= and DeviceAllow= are programs that the kernel checks
            *("--capability=CAP_BPF,CAP_NET_ADMIN", "--system-call-filter=bpf"),
            *(f"--bind-ro={here}:{inside}" for here, inside in self._read_only.items()),
        ]

    def _wait_booted(self) -> None:
        def booted() -> bool:
            assert self._nspawn is not None
            assert self._nspawn.poll() is None, f"the container ended while it booted:\n{self.log()}"
            leader = self._leader()
            if leader is None or not Path(f"/proc/{leader}/root/run/systemd/private").exists():
                return False
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state in ("running", "degraded")

        wait_until(booted, lambda: f"the container does not come up:\n{self.log()}")

    def log(self) -> str:
        """The end of what the container printed."""
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """Shut down as a machine does; what was written stays."""
        if self._nspawn is not None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(PATIENCE_S)
            finally:
                groups.remove(self._groups)
            self._nspawn = None

    def reboot(self) -> None:
        """`systemctl reboot`: another systemd comes up on the same files."""
        assert self._nspawn is not None, "the machine is not running"
        self.run("systemctl", "reboot", check=False)  # which may be ended by what it asks for
        code = self._nspawn.wait(PATIENCE_S)
        assert code == _ASKS_FOR_REBOOT, f"no reboot, but exit code {code}:\n{self.log()}"
        groups.remove(self._groups)
        self.start()

    def _clear(self) -> None:
        try:
            self.stop()
        finally:
            groups.remove(self._groups)
            if self._nspawn is not None:
                self._nspawn.wait()
            shutil.rmtree(self._folder)

    def _leader(self) -> int | None:
        return self._find(1)

    def _find(self, inside: int) -> int | None:
        """What this machine calls a process of the container; None when there is none."""
        assert self._nspawn is not None, "the machine is not running"
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._nspawn.pid).children(recursive=True):
                if pid_inside(process.pid) == inside:
                    return process.pid
        return None

    @property
    def leader(self) -> int:
        """What this machine calls the container's PID 1."""
        if self._known_leader is None or pid_inside(self._known_leader) != 1:
            self._known_leader = self.host_pid(1)
        return self._known_leader

    def host_pid(self, inside: int) -> int:
        """What this machine calls a process of the container."""
        pid = self._find(inside)
        assert pid is not None, f"there is no process {inside} in the container:\n{self.log()}"
        return pid

    @property
    def root(self) -> Path:
        """The container's files. Mind absolute symbolic links: from here they lead out of it."""
        return Path(f"/proc/{self.leader}/root")

    def run(
        self, *argv: str, check: bool = True, timeout_s: float = PATIENCE_S
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as root, in an environment of its own; with `check` it must succeed."""
        done = subprocess.run(
            entering(self.leader, *argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            start_new_session=True,
        )
        said = f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def push(self, source: Path, inside: str, ignored: tuple[str, ...] = ()) -> None:
        """Copy a file or a folder of this machine to a path inside."""
        target = self.root / inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*ignored), dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)

    def connect(self, port: int) -> socket.socket:
        """A TCP connection of this process to the container's loopback address."""
        return connect(self.leader, port, PATIENCE_S)

    def changed_files(self) -> dict[str, str]:
        """Path -> what it is now, for everything in which the container differs from this machine."""
        return self.overlay.changes()


def why_not() -> str | None:
    """Why no systemd can be booted on this machine, or None when it can."""
    prefix = "cannot boot a systemd in a container here: "
    if os.geteuid() != 0:
        return f"{prefix}that takes root (sudo ./install.sh test)"
    for tool, package in _TOOLS.items():
        if shutil.which(tool, path=SYSTEM_PATH) is None:
            return f"{prefix}{tool} is missing (apt-get install {package})"
    if not _SYSTEMD.exists():
        return f"{prefix}there is no {_SYSTEMD} (apt-get install systemd)"
    if not groups.has_v2(Path("/proc/self/mounts").read_text()):
        return f"{prefix}cgroup v2 is not mounted"
    with tempfile.TemporaryDirectory(prefix=f"{groups.PREFIX}-{os.getpid()}-", dir=_FOLDERS) as folder:
        overlay = Overlay(Path(folder))
        mount = ("mount", "-t", "overlay", "-o", overlay.options, "overlay", str(overlay.root))
        mounted = subprocess.run([*_PRIVATE_MOUNTS, *mount], capture_output=True, text=True)
    return f"{prefix}{mounted.stderr.strip()}" if mounted.returncode else None


def wait_until(
    holds: Callable[[], bool], complaint: Callable[[], str], timeout_s: float = PATIENCE_S
) -> None:
    """Ask until it holds, of what tells nobody when it comes to hold."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, complaint()
        pause.wait(0.02)


def _remove_stale_folders() -> None:
    """What killed test runs left behind: the folders whose maker is dead."""
    for folder in Path(_FOLDERS).glob(f"{groups.PREFIX}-*"):
        if not groups.maker_lives(folder):
            shutil.rmtree(folder)
