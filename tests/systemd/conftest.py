"""One machine for all tests here, with edged installed as by a user; and a table of what the steps took."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import models  # noqa: F401 the fixture
from tests.systemd.installer import Installer
from tests.systemd.machine import Machine, why_not
from tests.systemd.service import Service
from tests.systemd.wheels import cache, make_wheels

REPOSITORY = Path(__file__).parents[2]
# The life of an installation: each module finds it as the one before it has left it.
_ORDER = (
    "test_machine",
    "test_install",
    "test_start",
    "test_failures",
    "test_requests",
    "test_exit_codes",
    "test_reload",
    "test_tls",
    "test_hardening",
    "test_journal",
    "test_end",
)
Lap = Callable[[str], AbstractContextManager[None]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules here in their order, and behind all others."""
    places = {f"{__package__}.{name}": place for place, name in enumerate(_ORDER, start=1)}

    def place(item: pytest.Item) -> int:
        module = item.getparent(pytest.Module)
        return places.get(module.obj.__name__, 0) if module is not None else 0

    items.sort(key=place)


@pytest.fixture(scope="session")
def needs_systemd() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def machine(needs_systemd: None, models: Path) -> Iterator[Machine]:  # noqa: F811
    """A booted machine without a network, on which edged was never installed, but could be."""
    read_only = {
        make_wheels(REPOSITORY): Installer.WHEELS,
        models: "/root/.local/share/edged/models",
        cache() / "wheels": "/root/.cache/edged/wheels",
    }
    with Machine(read_only) as booted:
        yield booted


@pytest.fixture(scope="session")
def installer(machine: Machine) -> Installer:
    """A clone of edged on the machine."""
    return Installer(machine, REPOSITORY)


@pytest.fixture(scope="session")
def installed(installer: Installer) -> Installer:
    """The same, after edged has been installed."""
    installer.install_interrupted()
    installer.install()
    return installer


@pytest.fixture
def service(installed: Installer) -> Iterator[Service]:
    """The service, ready, and with the configuration that it was installed with; given back likewise."""
    found = Service(installed.machine)
    original = found.config_file.read_text()
    if found.show("ActiveState") != "active":
        found.systemctl("restart", "edged")
    yield found
    if found.config_file.read_text() != original:
        found.config_file.write_text(original)
        found.systemctl("restart", "edged", check=False)


@pytest.fixture
def lap(record_property: Callable[[str, object], None]) -> Lap:
    """`with lap("what"):` times a step for the table at the end."""

    @contextmanager
    def _lap(what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        record_property(what, time.monotonic() - began)

    return _lap


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the service's journal to a failure."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and isinstance(service, Service):
        report.sections.append(("journal of edged.service", service.journal_text()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of what the steps took."""
    laps = [
        (what, took_s)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if getattr(report, "when", None) == "call" and report.nodeid.startswith("tests/systemd/")
        for what, took_s in report.user_properties
        if isinstance(took_s, float)
    ]
    if laps:
        terminalreporter.section("edged under systemd")
        for what, took_s in laps:
            terminalreporter.write_line(f"{took_s:8.2f} s  {what}")
