"""What a runner may never do, given up before it reads a model file: nobody knows who wrote that.

A runner needs one socketpair, which it inherits. From here on it can make Unix sockets only, and gains no
privileges by starting programs. Both hold for all its later threads and children, and cannot be undone.
"""

import ctypes
import os
import platform
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000  # with an errno in the lower 16 bits
_EAFNOSUPPORT = 97  # what systemd's RestrictAddressFamilies= answers
_EPERM = 1
_AF_UNIX = 1
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # seccomp(2), linux/bpf_common.h
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # in struct seccomp_data; little-endian
_IO_URING_SETUP = 425  # the same everywhere; a ring makes sockets that no filter sees
_X32 = 0x40000000  # from here on: x86-64's second set of numbers

# AUDIT_ARCH_* and the number of socket(2), where they are known for sure
_KNOWN = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine() -> None:
    """Give up the network and new privileges, before any thread starts; what cannot be is said and left."""
    for what, step in (("new privileges", _gain_no_privileges), ("network sockets", _make_unix_sockets_only)):
        try:
            step()
        except OSError as error:
            print(f"the runner is not kept from {what}: {error}", file=sys.stderr)


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, by whatever."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _gain_no_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)


def _make_unix_sockets_only() -> None:
    machine = platform.machine()
    if machine not in _KNOWN or struct.calcsize("P") != 8 or sys.byteorder != "little":
        raise OSError(f"system call numbers of {machine} are not known here")
    program = _program(*_KNOWN[machine])
    instructions = _Program(len(program) // 8, program)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(instructions))


def _program(architecture: int, socket_number: int) -> bytes:
    """Refuse every call of another architecture, whose numbers are different, sockets and rings."""
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 5, architecture),  # else: to EPERM
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, 3, 0, _X32),
        (_JUMP_IF_EQUAL, 2, 0, _IO_URING_SETUP),
        (_JUMP_IF_EQUAL, 2, 0, socket_number),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | _EAFNOSUPPORT),
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _prctl(option: int, first: int, second: int) -> None:
    """prctl(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(each) for each in (first, second, 0, 0)]
    if libc.prctl(option, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
