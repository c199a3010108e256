"""HTTPS as a service: the key is a group's to read, and a renewed certificate needs no restart."""

import shutil
import ssl
from pathlib import Path

from tests import certificates
from tests.systemd.machine import wait_until
from tests.systemd.service import PORT, Service

FOLDER = "/etc/edged/tls"
GROUP = "staff"  # every Debian has it: uninstalling is compared with the machine as it was


def test_a_key_that_a_group_may_read_and_a_renewal(service: Service) -> None:
    run, folder = service.machine.run, service.machine.root / FOLDER.lstrip("/")
    folder.mkdir()
    try:
        make(service, folder)
        places = {"tls_certificate": f"{FOLDER}/edged.pem", "tls_key": f"{FOLDER}/edged.key"}
        service.configure(lambda config: config["server"].update(places))
        before = service.cursor()
        service.systemctl("restart", "edged", check=False)
        wait_until(lambda: service.show("ActiveState") == "failed", service.journal_text)
        [said] = [entry["MESSAGE"] for entry in service.journal(before) if "tls_key" in entry["MESSAGE"]]
        assert "may not read it" in said
        assert "SupplementaryGroups=" in said
        run("systemctl", "reset-failed", "edged.service")
        with service.drop_in(f"[Service]\nSupplementaryGroups={GROUP}\n"):
            service.wait_active()
            assert "smollm2" in run("edged", "ps").stdout
            first, daemon = shown(service), service.daemon
            make(service, folder)
            service.systemctl("reload", "edged")
            assert shown(service) != first
            assert "smollm2" in run("edged", "ps").stdout
            assert service.daemon == daemon
    finally:
        shutil.rmtree(folder)


def make(service: Service, folder: Path) -> None:
    """A certificate, whose key root and the group may read."""
    certificates.make(folder)
    service.machine.run("chgrp", GROUP, f"{FOLDER}/edged.key")
    (folder / "edged.key").chmod(0o640)


def shown(service: Service) -> bytes | None:
    """The certificate that clients see."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(service.machine.connect(PORT)) as sock:
        return sock.getpeercert(binary_form=True)
