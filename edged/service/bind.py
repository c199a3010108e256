"""The listening socket, bound before anything slow happens."""

import errno
import socket

from edged.errors import PortTaken

BACKLOG = 4096  # connections that may wait to be accepted; the kernel (net.core.somaxconn) may allow fewer

_CHANGE = "change server.port, or run with --port"


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. `::` takes IPv4 as well. Raises PortTaken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise PortTaken(
            f"server.host: cannot resolve {host!r} ({error}); use an address such as 127.0.0.1 or 0.0.0.0"
        ) from error
    # A name with both addresses (localhost, mostly) is expected to mean IPv4.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        return socket.create_server(
            address, family=family, backlog=BACKLOG, dualstack_ipv6=family == socket.AF_INET6 and host == "::"
        )
    except OSError as error:
        raise PortTaken(_explain(host, port, error)) from error


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken{_owner(port)}; stop it, or {_CHANGE}"
    if error.errno == errno.EACCES:
        return (
            f"port {port} needs privileges (ports below 1024 do): {_CHANGE}, "
            "or give the service AmbientCapabilities=CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"server.host: this machine has no address {host}; use 0.0.0.0 for every network"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def _owner(port: int) -> str:
    """` by NAME (pid N)`, where the kernel lets us see it."""
    import psutil  # only when something is wrong: it is slow to import

    try:
        pids = {
            connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        }
        names = [f"{psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pid for pid in pids if pid)]
    except (psutil.Error, OSError):
        return " by another program"
    return f" by {', '.join(names)}" if names else " by another program"
