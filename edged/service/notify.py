"""Messages to systemd. Outside systemd they go nowhere, and they never raise."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*, ready: bool = False, stopping: bool = False, status: str | None = None) -> None:
    """Tell systemd what holds now: READY=1, STOPPING=1 and one line for `systemctl status`."""
    lines = []
    if ready:
        lines.append("READY=1")
    if stopping:
        lines.append("STOPPING=1")
    if status is not None:
        lines.append("STATUS=" + " ".join(status.split()))  # a line break would start another message
    address = os.environ.get("NOTIFY_SOCKET")
    if address and lines:
        _send(address, "\n".join(lines))


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
