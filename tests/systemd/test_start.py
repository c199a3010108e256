"""How the service comes up: ready when its models are, and what it says meanwhile."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.systemd.conftest import Lap
from tests.systemd.machine import wait_until
from tests.systemd.service import Service, hang


@contextmanager
def _held_up(service: Service) -> Iterator[list[psutil.Process]]:
    """A restart of the service whose runners do not get on while the block lasts."""
    before = service.show("MainPID")
    service.systemctl("restart", "--no-block", "edged")
    wait_until(lambda: service.show("MainPID") not in ("0", before), service.journal_text)
    daemon = service.daemon
    held: list[psutil.Process] = []

    def runners() -> list[psutil.Process]:
        """Those that have begun their own program: until then (vfork) a child holds up its parent as well."""
        return [child for child in daemon.children() if child.cmdline() != daemon.cmdline()]

    def hold_all() -> bool:
        """Until no further ones come: some are started ahead of the plan, others after it."""
        new = [child for child in runners() if child not in held]
        for child in new:
            hang(child)
        held.extend(new)
        return len(held) >= 2 and not new

    wait_until(lambda: bool(runners()), service.journal_text)
    wait_until(hold_all, service.journal_text)
    try:
        yield held
    finally:
        for child in held:
            if child.is_running():
                child.send_signal(signal.SIGCONT)


def test_it_is_active_not_before_its_models_are_ready(service: Service, lap: Lap) -> None:
    with _held_up(service):
        wait_until(lambda: service.call("GET", "/livez")[0] == 200, service.journal_text)
        assert service.call("GET", "/readyz")[0] == 503
        assert service.show("ActiveState") == "activating"
        assert "loading" in service.show("StatusText")
    with lap("from models that get on again to active"):
        service.wait_active()
    assert service.call("GET", "/readyz")[0] == 200


def test_start_returns_when_it_is_ready(service: Service, lap: Lap) -> None:
    with lap("systemctl restart, both models preloaded"):
        service.systemctl("restart", "edged")
    assert service.call("GET", "/readyz")[0] == 200
    assert {model["state"] for model in service.models().values()} == {"ready"}


def test_status_tells_what_it_is_doing(service: Service) -> None:
    said = service.machine.run("systemctl", "status", "--no-pager", "edged").stdout
    line = next(line.strip() for line in said.splitlines() if line.strip().startswith("Status:"))
    assert "serving" in line
    assert "TriggeredBy: ● edged.socket" in said


def test_a_request_while_it_starts_waits_for_it(service: Service) -> None:
    service.systemctl("restart", "--no-block", "edged")
    assert service.chat("hello")[0] == 200


def test_the_daemon_is_the_units_main_process_and_the_runners_are_in_its_group(service: Service) -> None:
    daemon = service.daemon
    assert "edged" in " ".join(daemon.cmdline())
    runners = {service.runner(model).pid for model in service.models()}
    assert runners == {child.pid for child in daemon.children()}
    in_the_unit = service.machine.run("systemctl", "status", "--no-pager", "edged").stdout
    for model in service.models().values():
        assert f"{model['pid']} " in in_the_unit
