"""install.sh on a machine that has never seen edged and has no network."""

from collections.abc import Callable

import yaml

from tests.systemd.installer import Installer
from tests.systemd.service import Service


def test_an_interrupted_installation_is_completed_by_the_next(
    installed: Installer, record_property: Callable[[str, object], None]
) -> None:
    record_property("install, after one that was cut off", installed.seconds["service"])
    service = Service(installed.machine)
    assert service.show("ActiveState") == "active"
    assert service.call("GET", "/readyz")[0] == 200, "it says that it is installed when it is ready"
    for unit in ("edged.service", "edged.socket"):
        assert service.show("UnitFileState", unit) == "enabled"


def test_the_curl_that_it_prints_works(installed: Installer) -> None:
    printed = installed.said.partition("Try it:\n")[2].partition("More:")[0]
    assert "curl" in printed, installed.said
    answer = installed.machine.run("sh", "-c", printed).stdout
    assert '"choices"' in answer


def test_what_it_says_is_free_of_warnings(installed: Installer) -> None:
    found = installed.machine.run("systemd-analyze", "verify", "edged.service", "edged.socket")
    about_edged = [line for line in found.stderr.splitlines() if "edged" in line]
    assert about_edged == []


def test_installing_again_changes_nothing_and_keeps_the_configuration(installed: Installer) -> None:
    service = Service(installed.machine)
    pid, version = service.show("MainPID"), installed.version
    original = service.config_file.read_text()
    service.config_file.write_text(f"# mine\n{original}")
    try:
        installed.run("service", "--wheels", Installer.WHEELS)
        assert service.config_file.read_text() == f"# mine\n{original}"
        beside = service.config_file.with_name("edged.yaml.new")
        assert yaml.safe_load(beside.read_text()) == yaml.safe_load(original)
    finally:
        service.config_file.write_text(original)
    assert (service.show("MainPID"), installed.version) == (pid, version)


def test_status_says_what_is_installed_and_that_it_is_ready(installed: Installer) -> None:
    code, said = installed.run("status")
    assert code == 0
    assert "ready" in said
    assert "8080" in said
