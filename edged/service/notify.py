"""Messages to systemd. Outside systemd they go nowhere, and they never raise. See sd_notify(3)."""

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


def notify(
    *,
    ready: bool = False,
    reloading: bool = False,
    stopping: bool = False,
    watchdog: bool = False,
    status: str | None = None,
    extend_timeout_s: float | None = None,
    errno: int | None = None,
) -> None:
    """Tell systemd what holds now.

    `status` is one line for `systemctl status`; `extend_timeout_s` asks that the start or stop under way may
    take so long from now; `errno` says why the service is about to fail. MAINPID is never sent: systemd
    started this very process.
    """
    lines = []
    if ready:
        lines.append("READY=1")
    if reloading:
        # Both in one message: systemd takes a RELOADING=1 for over by a READY=1 that is later than this time.
        lines += ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]
    if stopping:
        lines.append("STOPPING=1")
    if watchdog:
        lines.append("WATCHDOG=1")
    if status is not None:
        lines.append("STATUS=" + " ".join(status.split()))  # a line break would start another message
    if extend_timeout_s is not None:
        lines.append(f"EXTEND_TIMEOUT_USEC={round(extend_timeout_s * 1e6)}")
    if errno is not None:
        lines.append(f"ERRNO={errno}")
    address = os.environ.get("NOTIFY_SOCKET")
    if address and lines:
        _send(address, "\n".join(lines))


def is_heard() -> bool:
    """Whether anybody listens to these messages."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_s() -> float | None:
    """Within which time systemd wants to hear WATCHDOG=1 again; None where it does not watch this process."""
    wanted, of = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not wanted.isdecimal() or int(wanted) == 0 or of not in (None, str(os.getpid())):
        return None
    return int(wanted) / 1e6


def _send(address: str, message: str) -> None:
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux's abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(1.0)
            sock.connect(address)
            sock.sendall(message.encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        log.debug("systemd was not told %r: %s", message, error)
