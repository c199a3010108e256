"""What the unit promises, seen from inside the daemon's and the runners' own processes."""

import errno
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.systemd import syscall
from tests.systemd.service import Service

_HIGHEST_EXPOSURE = 1.5
_KEY = "a-key-that-only-root-may-read"
_REFUSED = {-errno.EPERM, -errno.EACCES, -errno.EAFNOSUPPORT}
_SOCKET, _MMAP, _MOUNT = 41, 9, 165  # x86-64's numbers
_AF_INET, _AF_NETLINK, _AF_INET6, _AF_PACKET = 2, 16, 10, 17
_SOCK_STREAM, _SOCK_RAW = 1, 3
_WRITABLE_CODE = (0, 4096, 7, 0x22, -1, 0)  # PROT_READ|WRITE|EXEC, MAP_PRIVATE|ANONYMOUS


@pytest.fixture
def processes(service: Service) -> dict[str, psutil.Process]:
    """The daemon and every runner, by name."""
    return {"daemon": service.daemon, **{name: service.runner(name) for name in service.models()}}


@pytest.fixture
def secret(service: Service) -> Iterator[str]:
    """A file in somebody's home."""
    path = "/home/someone/secret"
    service.machine.run("sh", "-c", f"mkdir -p {Path(path).parent} && echo secret >{path}")
    yield path
    service.machine.run("rm", "-r", str(Path(path).parent))


def _status(process: psutil.Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _among_its_files(process: psutil.Process, command: str, *, as_root: bool) -> int:
    """The exit code of a shell command that sees the files that this process sees."""
    user, group = ("0", "0") if as_root else (_status(process)[key].split()[0] for key in ("Uid", "Gid"))
    entered = ["nsenter", "-t", str(process.pid), "-m", "-r", "-S", user, "-G", group]
    return subprocess.run([*entered, "/bin/sh", "-c", command], capture_output=True).returncode


def _calls(process: psutil.Process, number: int, *arguments: int) -> set[int]:
    """What a system call returns to each of a process's threads."""
    if platform.machine() != "x86_64":
        pytest.skip(f"system calls are made in other processes on x86-64 only, not on {platform.machine()}")
    results = set()
    for thread in process.threads():
        command = [sys.executable, "-I", syscall.__file__, *map(str, (thread.id, number, *arguments))]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.add(int(done.stdout))
    return results


def test_systemd_finds_little_exposed(service: Service) -> None:
    said = service.machine.run("systemd-analyze", "security", "--no-pager", "edged.service").stdout
    found = re.search(r"Overall exposure level for edged\.service: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= _HIGHEST_EXPOSURE, said


def test_nobody_has_rights_beyond_a_users(processes: dict[str, psutil.Process]) -> None:
    for name, process in processes.items():
        status = _status(process)
        assert "0" not in status["Uid"].split(), name
        for held in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[held], 16) == 0, (name, held)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), name
        assert status["Umask"] == "0077", name


@pytest.mark.parametrize("as_root", [False, True])
@pytest.mark.parametrize(
    "folder", ["/etc", "/etc/edged", "/usr", "/opt/edged", "/var/lib", "/var/log", "/home"]
)
def test_files_outside_its_own_cannot_be_written(
    processes: dict[str, psutil.Process], folder: str, as_root: bool
) -> None:
    for process in processes.values():
        assert _among_its_files(process, f"touch {folder}/edged-was-here", as_root=as_root) != 0


def test_models_can_be_read_and_not_changed(processes: dict[str, psutil.Process]) -> None:
    file = "/var/lib/edged/models/minilm.gguf"
    for process in processes.values():
        assert _among_its_files(process, f"head -c 4 {file}", as_root=False) == 0
        assert _among_its_files(process, f"printf x | dd of={file} conv=notrunc", as_root=False) != 0
        assert _among_its_files(process, f"rm -f {file}", as_root=False) != 0


def test_what_it_learns_it_can_keep(processes: dict[str, psutil.Process]) -> None:
    kept = "/var/lib/edged/test"
    assert _among_its_files(processes["daemon"], f"touch {kept} && rm {kept}", as_root=False) == 0


@pytest.mark.parametrize("as_root", [False, True])
def test_homes_are_not_seen(
    service: Service, processes: dict[str, psutil.Process], secret: str, as_root: bool
) -> None:
    assert service.machine.run("cat", secret).stdout == "secret\n"
    for process in processes.values():
        assert _among_its_files(process, f"cat {secret}", as_root=as_root) != 0
        assert _among_its_files(process, "ls -A /home /root 2>&- | grep -q '^[^/]'", as_root=as_root) != 0


def test_a_runner_opens_no_network_socket(service: Service, processes: dict[str, psutil.Process]) -> None:
    for name in service.models():
        for family in (_AF_INET, _AF_INET6):
            assert _calls(processes[name], _SOCKET, family, _SOCK_STREAM, 0) <= _REFUSED, name
    assert service.chat("and it goes on as before")[0] == 200
    assert service.embed("and it goes on as before") == 200


def test_nobody_opens_raw_sockets_mounts_or_writes_code(processes: dict[str, psutil.Process]) -> None:
    for name, process in processes.items():
        assert _calls(process, _SOCKET, _AF_PACKET, _SOCK_RAW, 0) <= _REFUSED, name
        assert _calls(process, _SOCKET, _AF_NETLINK, _SOCK_RAW, 0) <= _REFUSED, name
        assert _calls(process, _MOUNT, 0, 0, 0, 0, 0) <= _REFUSED, name
        assert _calls(process, _MMAP, *_WRITABLE_CODE) <= _REFUSED, name


def test_the_kernel_would_kill_a_runner_first(service: Service, processes: dict[str, psutil.Process]) -> None:
    adjusted = {
        name: int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
        for name, process in processes.items()
    }
    assert all(adjusted[name] > adjusted["daemon"] for name in service.models())


def test_memory_may_be_locked_as_far_as_systemd_may(service: Service) -> None:
    assert service.show("LimitMEMLOCK") == "infinity"
    systemds, its = (
        next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "locked memory" in line)
        for pid in (service.machine.leader, service.daemon.pid)
    )
    assert "unlimited" in its or its == systemds


def test_keys_come_from_a_file_that_only_root_can_read(service: Service) -> None:
    file = service.machine.root / "etc/edged/api_keys"
    file.touch(mode=0o600)
    file.write_text(f"# for the test\n{_KEY}\n")
    after = service.cursor()
    try:
        service.systemctl("restart", "edged")
        assert service.embed("without a key") == 401
        assert service.embed("with it", key=_KEY) == 200
        daemon = service.daemon
        for process in (daemon, *daemon.children()):
            assert _KEY not in " ".join((*process.cmdline(), *process.environ().values()))
        assert _KEY not in str(service.journal(after))
    finally:
        file.unlink()
        service.systemctl("restart", "edged")
