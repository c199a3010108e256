"""What the doctor says of the certificate."""

from pathlib import Path
from typing import Any

import pytest

from edged.config.schema import Config, Server
from edged.doctor.facts import CertificateFacts, Finding
from edged.doctor.gather import certificate_facts
from edged.doctor.tls import certificate
from tests import certificates

NOW_S = 1_800_000_000.0
DAY_S = 24 * 3600


def findings(**known: Any) -> list[Finding]:
    return list(certificate(CertificateFacts(certificate="/c.pem", key="/k.pem", **known), NOW_S))


def test_a_good_one_and_none_are_not_worth_a_word() -> None:
    assert findings(valid_until_s=NOW_S + 15 * DAY_S) == []
    assert list(certificate(None, NOW_S)) == []


@pytest.mark.parametrize(
    ("known", "level", "said"),
    [
        ({"valid_until_s": NOW_S + 3.5 * DAY_S}, "hint", "/c.pem ends in 3 days"),
        ({"fault": "certificate has expired"}, "problem", "/c.pem is refused by clients: certificate has"),
        ({"wrong": "server.tls_key: /k.pem: is no key"}, "problem", "server.tls_key: /k.pem: is no key"),
        ({"hidden": True}, "unknown", "/k.pem is not for this user to read"),
        ({"exposed": True}, "problem", "/k.pem can be read by everybody"),
    ],
)
def test_what_is_wrong_is_said(known: dict[str, Any], level: str, said: str) -> None:
    [finding] = findings(**known)
    assert finding.level == level
    assert finding.what.startswith(said)


def test_the_files_are_tried_as_the_daemon_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert certificate_facts(Config()) is None
    files = certificates.make(tmp_path)
    config = Config(server=Server(tls_certificate=str(files.certificate), tls_key=str(files.key)))
    found = certificate_facts(config)
    assert found is not None
    assert (found.wrong, found.fault, found.exposed, found.hidden) == (None, None, False, False)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert certificate_facts(config) == CertificateFacts(
        certificate=str(files.certificate), key=str(files.key), hidden=True
    )
    files.key.unlink()
    found = certificate_facts(config)
    assert found is not None
    assert str(found.wrong) == f"server.tls_key: {files.key}: cannot be read: No such file or directory"
