"""The machine that the other tests use is a real one, and leaves nothing behind. Needs root."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd import groups
from tests.systemd.conftest import Lap
from tests.systemd.machine import Machine, wait_until, why_not

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def own(needs_systemd: None) -> Iterator[Machine]:
    with Machine({HERE: "/srv/here"}) as booted:
        yield booted


def test_it_boots_and_is_gone_afterwards(needs_systemd: None, lap: Lap) -> None:
    machine = Machine({})
    with lap("boot a machine and remove it"), machine:
        folder = machine.overlay.upper.parent
        leader = machine.leader
        assert machine.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert folder.exists()
    assert not folder.exists()
    assert not Path(f"/proc/{leader}").exists()
    roots = groups.hierarchies(Path("/proc/self/mounts").read_text())
    assert not any((root / machine.name).exists() for root in roots)
    assert machine.name not in Path("/proc/self/mounts").read_text()


def test_commands_run_inside_and_tell_how_they_ended(own: Machine) -> None:
    assert own.run("hostname").stdout.strip() == own.name
    assert own.run("sh", "-c", "echo said; exit 3", check=False).returncode == 3
    with pytest.raises(AssertionError, match="exit code 3\nsaid"):
        own.run("sh", "-c", "echo said; exit 3")


def test_nothing_that_is_enabled_on_this_machine_runs_inside(own: Machine) -> None:
    units = own.run("systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend")
    names = {line.split()[0] for line in units.stdout.splitlines()}
    assert names <= {"dbus.service", "systemd-journald.service", "systemd-logind.service"}


def test_what_is_written_inside_is_seen_there_and_nowhere_else(own: Machine) -> None:
    own.run("sh", "-c", "echo inside >/etc/written && rm /etc/fstab && mkdir /opt/empty")
    changes = own.changed_files()
    assert changes["etc/written"].startswith("-rw-r--r-- 7 bytes")
    assert changes["etc/fstab"] == "deleted"
    assert changes["opt/empty"] == "folder"
    assert "etc" not in changes
    assert not Path("/etc/written").exists()
    assert Path("/etc/fstab").exists()


def test_files_are_pushed_and_bound(own: Machine) -> None:
    own.push(HERE, "/srv/pushed", ("__pycache__",))
    own.push(HERE / "machine.py", "/srv/alone/machine.py")
    for path in ("/srv/here/machine.py", "/srv/pushed/machine.py", "/srv/alone/machine.py"):
        assert own.run("cat", path).stdout == (HERE / "machine.py").read_text()
    assert own.run("touch", "/srv/here/new", check=False).returncode != 0
    assert not (HERE / "new").exists()


def test_its_network_is_its_own_and_this_process_reaches_it(own: Machine) -> None:
    links = own.run("ls", "/sys/class/net").stdout.split()
    assert links == ["lo"]
    command = "import socket; s = socket.create_server(('127.0.0.1', 8080)); s.accept()[0].sendall(b'inside')"
    system_python = os.path.realpath(sys.executable)  # an environment below /tmp or /home is not seen inside
    own.run("systemd-run", "--quiet", system_python, "-I", "-c", command)
    received = []

    def answered() -> bool:
        try:
            with own.connect(8080) as connection:
                received.append(connection.recv(100))
        except ConnectionRefusedError:
            return False
        return True

    before = os.stat("/proc/thread-self/ns/net").st_ino
    wait_until(answered, lambda: "nobody listens")
    assert received == [b"inside"]
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_a_reboot_keeps_files_and_nothing_else(own: Machine, lap: Lap) -> None:
    own.run("sh", "-c", "echo kept >/var/kept; echo gone >/run/gone")
    boot_id = own.run("journalctl", "--list-boots", "--no-pager").stdout
    with lap("reboot the machine, without edged"):
        own.reboot()
    assert own.run("cat", "/var/kept").stdout == "kept\n"
    assert own.run("cat", "/run/gone", check=False).returncode != 0
    assert len(own.run("journalctl", "--list-boots", "--no-pager").stdout.splitlines()) > len(
        boot_id.splitlines()
    )


def test_what_a_killed_test_run_left_is_removed_by_the_next(needs_systemd: None) -> None:
    script = (
        "from tests.systemd.machine import Machine\nmachine = Machine({})\nmachine.__enter__()\n"
        "print(machine.overlay.upper.parent, machine.leader, flush=True)\nimport signal; signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        folder, leader = killed.stdout.readline().split()
        killed.kill()
    Machine({})
    assert not Path(folder).exists()
    # killed, it is still there until whoever inherited it asks for its exit code
    wait_until(lambda: not Path("/proc", leader).exists(), lambda: "the container lives on")


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "cannot boot a systemd in a container here: that takes root (sudo ./install.sh test)"


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("tests.systemd.machine.SYSTEM_PATH", str(tmp_path))
    reason = why_not()
    assert reason is not None
    assert reason.endswith("systemd-nspawn is missing (apt-get install systemd-container)")


def test_hierarchies_of_pure_hybrid_and_old_mounts() -> None:
    v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    hybrid = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nshort\n"
    )
    assert groups.hierarchies(v2) == (Path("/sys/fs/cgroup"),)
    assert groups.hierarchies(hybrid) == (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))
    assert groups.has_v2(v2)
    assert groups.has_v2(hybrid)
    assert not groups.has_v2("cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n")
