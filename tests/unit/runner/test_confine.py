"""What a confined process cannot do any more, tried in processes of their own: there is no way back."""

import errno
import platform
import subprocess
import sys

import pytest

from edged.runner import confine as confine_module
from edged.runner.confine import confine

_TRY = """
import ctypes, errno, socket, subprocess, sys, threading
from edged.runner.confine import confine
confine()

def made(family, kind):
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "made"

def look():
    print(made(socket.AF_INET, socket.SOCK_STREAM), made(socket.AF_INET6, socket.SOCK_DGRAM),
          made(socket.AF_NETLINK, socket.SOCK_RAW), made(socket.AF_UNIX, socket.SOCK_STREAM))

look()
thread = threading.Thread(target=look); thread.start(); thread.join()
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 1, None), errno.errorcode[ctypes.get_errno()])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "Seccomp:"))])
child = "import socket; socket.socket()"
print(subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL).returncode)
"""
_REFUSED = "EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT made"


@pytest.mark.skipif(platform.machine() not in confine_module._KNOWN, reason="this CPU's numbers are unknown")
def test_only_unix_sockets_can_be_made_by_any_thread_or_child() -> None:
    done = subprocess.run([sys.executable, "-c", _TRY], capture_output=True, text=True)
    assert done.stdout.splitlines() == [_REFUSED, _REFUSED, "-1 EPERM", "['1', '2']", "1"], done.stderr
    assert done.stderr == ""


def test_on_an_unknown_machine_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    monkeypatch.setattr(confine_module, "_gain_no_privileges", lambda: None)  # this process would keep it
    confine()
    assert (
        "not kept from network sockets: system call numbers of vax are not known" in capsys.readouterr().err
    )


def test_a_kernel_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(confine_module, "_prctl", refuse)
    confine()
    said = capsys.readouterr().err
    assert "not kept from new privileges" in said
    assert "not kept from network sockets" in said
