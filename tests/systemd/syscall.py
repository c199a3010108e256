"""`python syscall.py THREAD NUMBER [ARGUMENT...]`: have a thread make one system call, and print the result.

What a sandbox forbids is seen only from inside. A thread that waits in a system call is stopped, makes the
other one with the same instruction, and waits on as if nothing had happened (ptrace(2)). x86-64 only.
"""

import ctypes
import os
import signal
import sys

_SINGLESTEP, _DETACH = 9, 17
_GETREGSET, _SETREGSET, _SEIZE, _INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
_NT_PRSTATUS = 1
_WALL = 0x40000000
# Places in the kernel's user_regs_struct.
_N_REGISTERS = 27
_RAX, _ORIG_RAX, _RIP = 10, 15, 16
_ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi, rsi, rdx, r10, r8, r9
_NO_CALL = 2**64 - 1  # in orig_rax; else the kernel would now repeat the call that was interrupted
_SYSCALL_BYTES = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def make_call(thread: int, number: int, arguments: list[int]) -> int:
    """What the call returns to the thread: -errno on failure. Raises OSError, also for one that computes."""
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    before = _registers(thread)
    try:
        if before[_ORIG_RAX] == _NO_CALL:
            raise OSError("the thread computes; only one that waits in a system call has the instruction")
        during = list(before)
        for place, value in zip(_ARGUMENTS, arguments, strict=False):
            during[place] = value % 2**64
        during[_RAX], during[_ORIG_RAX] = number, _NO_CALL
        during[_RIP] -= _SYSCALL_BYTES
        _set_registers(thread, during)
        _ptrace(_SINGLESTEP, thread)
        _, status = os.waitpid(thread, _WALL)
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
            raise OSError(f"the thread did not come back from the call (wait status {status:#x})")
        result = _registers(thread)[_RAX]
    finally:
        _set_registers(thread, before)
        _ptrace(_DETACH, thread)
    return result - 2**64 if result >= 2**63 else result


def _registers(thread: int) -> list[int]:
    values = (ctypes.c_uint64 * _N_REGISTERS)()
    vector = _Vector(ctypes.addressof(values), ctypes.sizeof(values))
    _ptrace(_GETREGSET, thread, _NT_PRSTATUS, ctypes.addressof(vector))
    return list(values)


def _set_registers(thread: int, registers: list[int]) -> None:
    values = (ctypes.c_uint64 * _N_REGISTERS)(*registers)
    vector = _Vector(ctypes.addressof(values), ctypes.sizeof(values))
    _ptrace(_SETREGSET, thread, _NT_PRSTATUS, ctypes.addressof(vector))


def _ptrace(request: int, thread: int, address: int = 0, argument: int = 0) -> None:
    if _libc.ptrace(request, thread, address, argument) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request:#x}): {os.strerror(error)}")


if __name__ == "__main__":
    target, call, *rest = (int(argument, 0) for argument in sys.argv[1:])
    print(make_call(target, call, rest))
