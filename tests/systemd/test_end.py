"""A new version, one that does not work, a reboot, and the end."""

import re

import pytest

from tests.systemd.conftest import Lap
from tests.systemd.installer import Installer
from tests.systemd.machine import Machine
from tests.systemd.service import Service

# systemd writes there whatever runs.
_SYSTEMDS_OWN = ("var/log/journal/", "var/lib/systemd/", "var/log/wtmp", "var/log/btmp", "var/log/lastlog")
_OTHER_SERVICES_TMP = re.compile(r"var/tmp/systemd-private-[0-9a-f]+-(?!edged)")
_SYSTEMDS_FOLDERS = ("var/lib/private", "var/cache/private", "var/log/private")


def _left(installer: Installer, machine: Machine) -> set[str]:
    """What is not as it was before the installation, but for the clone and systemd's own."""
    return {
        path
        for path, what in machine.changed_files().items()
        if installer.before.get(path) != what
        and not path.startswith(("root/edged", *_SYSTEMDS_OWN))
        and path not in _SYSTEMDS_FOLDERS
        and not _OTHER_SERVICES_TMP.match(path)
    }


def test_after_a_reboot_the_port_answers_and_the_models_come(service: Service, lap: Lap) -> None:
    with lap("reboot until systemd has started everything"):
        service.machine.reboot()
    assert service.show("ActiveState", "edged.socket") == "active"
    with lap("from there until the models answer"):
        assert service.chat("hello")[0] == 200
        assert service.embed("hello") == 200
    service.wait_active()


def test_an_upgrade_switches_to_the_new_version(service: Service, installed: Installer, lap: Lap) -> None:
    old, daemon = installed.version, service.daemon
    installed.change_clone()
    with lap("install.sh upgrade"):
        installed.run("upgrade", "--wheels", Installer.WHEELS)
    assert installed.version != old
    assert service.daemon != daemon
    assert service.call("GET", "/readyz")[0] == 200


def test_an_upgrade_that_does_not_become_ready_is_rolled_back(
    service: Service, installed: Installer, lap: Lap
) -> None:
    old = installed.version
    installed.break_clone()
    with lap("install.sh upgrade to a broken version, and back"):
        code, said = installed.run("upgrade", "--wheels", Installer.WHEELS, check=False)
    assert code != 0
    assert "broken for a test" in said
    assert installed.version == old
    assert service.show("ActiveState") == "active"
    assert service.call("GET", "/readyz")[0] == 200
    assert service.chat("hello")[0] == 200


def test_uninstall_leaves_configuration_and_models(service: Service, installed: Installer, lap: Lap) -> None:
    with lap("install.sh uninstall"):
        installed.run("uninstall")
    with pytest.raises(ConnectionRefusedError):
        service.machine.connect(8080)
    left = _left(installed, service.machine)
    kept = {path for path in left if path.endswith((".yaml", ".gguf"))}
    assert {path.rpartition("/")[2] for path in kept} == {"edged.yaml", "minilm.gguf", "smollm2.gguf"}
    others = left - kept
    assert {path for path in others if not _is_part_of_what_is_kept(path)} == set()


def _is_part_of_what_is_kept(path: str) -> bool:
    """Folders of the configuration and the models, the models' receipts, systemd's link to the folder."""
    folders = ("etc/edged", "var/lib/edged", "var/lib/private/edged", "var/lib/private/edged/models")
    return path in folders or "/models/.receipts" in path or path == "var/lib/edged/models"


def test_purge_leaves_nothing(installed: Installer, machine: Machine, lap: Lap) -> None:
    with lap("install.sh uninstall --purge"):
        installed.run("uninstall", "--purge")
    assert _left(installed, machine) == set()
