"""systemd/: the units agree with the code, with install.sh, and with what systemd knows."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from edged.config.schema import Server
from edged.errors import ConfigError, NoModelLoaded, PortTaken

REPOSITORY = Path(__file__).resolve().parents[3]
_SERVICE = REPOSITORY / "systemd/edged.service"
_SOCKET = REPOSITORY / "systemd/edged.socket"
# newer than the oldest systemd that is supported; install.sh leaves them out there
_NEW_KEYS = {"RestartSteps", "RestartMaxDelaySec"}


def _settings(unit: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in unit.read_text().splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found[key].append(value)
    return dict(found)


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the units are not checked by systemd: systemd-analyze is missing")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for unit in (_SERVICE, _SOCKET):  # with a command that exists here
        (tmp_path / unit.name).write_text(
            re.sub("/opt/edged/current/bin/edged", shutil.which("true") or "/bin/true", unit.read_text())
        )
    done = _analyze("verify", *(str(tmp_path / unit.name) for unit in (_SERVICE, _SOCKET)))
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "edged." in line]
    assert [line for line in complaints if not any(f"'{key}'" in line for key in _NEW_KEYS)] == []


def test_its_exposure_is_low() -> None:
    done = _analyze("security", "--offline=true", "--threshold=15", str(_SERVICE))
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_what_a_restart_cannot_cure_is_not_restarted() -> None:
    settings = _settings(_SERVICE)
    assert settings["RestartPreventExitStatus"] == ["2 3 4"]
    assert {kind.exit_code for kind in (ConfigError, PortTaken, NoModelLoaded)} == {2, 3, 4}
    assert settings["Restart"] == ["on-failure"]
    assert settings["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize(
    ("code", "status", "job", "closes"),
    [
        ("exited", "2", "restart", True),
        ("exited", "3", "start", True),
        ("exited", "4", None, True),
        ("exited", "0", "stop", True),
        ("killed", "KILL", "stop", True),
        ("exited", "0", "restart", False),
        ("exited", "0", None, False),
        ("exited", "1", None, False),
        ("exited", "22", None, False),
        ("killed", "KILL", None, False),
        ("dumped", "ABRT", None, False),
    ],
)
def test_the_port_is_closed_when_edged_is_to_stay_away(
    tmp_path: Path, code: str, status: str, job: str | None, closes: bool
) -> None:
    (command,) = _settings(_SERVICE)["ExecStopPost"]
    match = re.fullmatch(r"\+/bin/sh -c '(.*)'", command)
    assert match is not None
    listed = "" if job is None else f"  123 edged.service {job} running"
    stub = tmp_path / "systemctl"
    stub.write_text(f'#!/bin/sh\n[ "$1" = list-jobs ] && echo "{listed}" || echo "$@"\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", match[1].replace("$$", "$")],
        env={"PATH": f"{tmp_path}:{os.defpath}", "EXIT_CODE": code, "EXIT_STATUS": status},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("stop --no-block edged.socket\n" if closes else "")


def test_there_is_time_to_drain() -> None:
    (stop_s,) = _settings(_SERVICE)["TimeoutStopSec"]
    assert int(stop_s) > Server().drain_timeout + 10


def test_the_port_is_the_documented_one() -> None:
    assert _settings(_SOCKET)["ListenStream"] == [str(Server().port)]


def test_units_and_installer_mean_the_same_places() -> None:
    script = (REPOSITORY / "install.sh").read_text()
    home, state, config = re.findall(r"^readonly home=(\S+) state=(\S+) config_dir=(\S+) ", script, re.M)[0]
    settings = _settings(_SERVICE)
    assert settings["ExecStart"] == [f"{home}/current/bin/edged run --config {config}/edged.yaml"]
    assert settings["LoadCredential"] == [f"api_keys:{config}/api_keys"]
    assert settings["StateDirectory"] == [state.removeprefix("/var/lib/")]
    assert settings["ReadOnlyPaths"] == [f"-{state}/models".replace("/lib/", "/lib/private/")]


def test_old_systemd_is_spared_what_it_does_not_know() -> None:
    (pattern,) = re.findall(r"sed -E '/\^Restart\((\S+)\)=/d'", (REPOSITORY / "install.sh").read_text())
    assert {f"Restart{name}" for name in pattern.split("|")} == _NEW_KEYS
