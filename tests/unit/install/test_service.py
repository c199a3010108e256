"""The service verbs of install.sh in a folder of their own, with stand-ins for systemd and for building.

What is real here: which version is in use, what is kept, what is removed, in which order. The real systemd's
part is shown in tests/systemd.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edged.config.load import load

REPOSITORY = Path(__file__).resolve().parents[3]

STAND_INS = r"""
need_root() { :; }
sleep() { command sleep 0.01; }
systemctl() { [[ $1 != --version ]] || echo "systemd ${SYSTEMD:-252} (252)"; echo "systemctl $*" >>"$CALLS"; }
journalctl() { echo "journalctl $*" >>"$CALLS"; }
become_ready() {
  echo "$1 $(readlink "$home/current")" >>"$CALLS"
  [[ " ${BROKEN:-} " != *" $(basename "$(readlink "$home/current")") "* ]]
}
build_version() {
  log=$home/install.log
  venv=$home/versions/$VERSION
  mkdir -p "$venv"/{service,bin}
  cp "$root"/systemd/edged.{service,socket} "$venv/service"
  [[ -z ${SOCKET:-} ]] || echo "# $SOCKET" >>"$venv/service/edged.socket"
  service_config >"$venv/service/edged.yaml"
  echo "${DEFAULTS:-}" >>"$venv/service/edged.yaml"
  touch "$venv/edged-stamp"
  printf '#!/bin/sh\necho "edged $*" >>"$CALLS"\n' >"$venv/bin/edged"
  chmod +x "$venv/bin/edged"
}
missing_models() { echo "${MISSING:-}"; }
answer() { echo '{}'; }
"""


class Machine:
    """Folders instead of /opt, /etc and /var, and the functions of install.sh with stand-ins over some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "opt/edged"
        self.config = folder / "etc/edged/edged.yaml"
        self.models = folder / "var/lib/edged/models"
        self.units = folder / "etc/systemd/system"
        self.command = folder / "usr/local/bin/edged"
        for each in ("opt", "etc/systemd/system", "var/lib", "usr/local/bin"):
            (folder / each).mkdir(parents=True)
        script = (REPOSITORY / "install.sh").read_text()
        script = re.sub(r"^root=.*$", f"root='{REPOSITORY}'", script, count=1, flags=re.MULTILINE)
        script = re.sub(r"=(/(?:opt|etc|var|usr)/[\w/.]+)(?=[\s])", rf"='{folder}'\1", script)
        assert script.endswith('main "$@"\n')
        self._functions = script.removesuffix('main "$@"\n')

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh to its end."""
        return self.bash(STAND_INS + 'main "$@"', *arguments, **environment)

    def bash(self, commands: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run commands that use the functions of install.sh."""
        (self.folder / "script").write_text(f"{self._functions}\n{commands}\n")
        return subprocess.run(
            ["bash", str(self.folder / "script"), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "CALLS": str(self.folder / "calls"),
                "VERSION": "1",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def starts(self) -> list[str]:
        """The starts and restarts since this was last asked, with the version that was in use."""
        calls = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").unlink()
        return [call for call in calls if call.split()[0] in ("start", "restart")]

    def left(self) -> set[str]:
        """The files that are there, besides those of this test."""
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if (path.is_file() or path.is_symlink()) and path.name not in ("script", "calls")
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "a machine").mkdir()  # with a space: paths must be quoted
    return Machine(tmp_path / "a machine")


def test_without_a_verb_it_installs_and_says_where_it_answers(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:8080" in done.stdout
    assert re.search(r"^ *curl -s http://127\.0\.0\.1:8080/", done.stdout, re.MULTILINE)
    assert machine.starts() == ["restart versions/1"]
    assert machine.command.readlink() == machine.home / "current/bin/edged"
    assert {unit.name for unit in machine.units.iterdir()} == {"edged.service", "edged.socket"}


def test_the_installed_configuration_serves_the_local_network(machine: Machine) -> None:
    machine.run()
    config = load(machine.config)
    assert (config.server.host, config.access.mode) == ("::", "lan")
    assert config.storage.model_dir == str(machine.models)
    assert config.storage.state_dir == str(machine.models.parent)
    shipped = (REPOSITORY / "config/edged.yaml").read_text().splitlines()
    installed = machine.config.read_text().rstrip("\n").splitlines()
    assert len(shipped) == len(installed)
    assert sum(a != b for a, b in zip(shipped, installed, strict=True)) == 4


def test_a_second_run_restarts_nothing(machine: Machine) -> None:
    machine.run()
    machine.starts()
    assert machine.run("service").returncode == 0
    assert machine.starts() == ["start versions/1"]


def test_a_configuration_is_kept_and_the_new_default_laid_beside_it(machine: Machine) -> None:
    machine.run()
    machine.config.write_text("models: {}\n")
    done = machine.run()
    assert machine.config.read_text() == "models: {}\n"
    assert "is kept" in done.stderr
    new = machine.config.with_name("edged.yaml.new")
    assert load(new).access.mode == "lan"
    machine.config.write_bytes(new.read_bytes())
    machine.run()
    assert not new.exists()


def test_an_upgrade_keeps_the_version_before_and_no_older_one(machine: Machine) -> None:
    for version in ("1", "2", "3"):
        assert machine.run("service" if version == "1" else "upgrade", VERSION=version).returncode == 0
    assert machine.starts() == [f"restart versions/{version}" for version in ("1", "2", "3")]
    assert sorted(path.name for path in (machine.home / "versions").iterdir()) == ["2", "3"]
    assert machine.home.joinpath("current").readlink() == Path("versions/3")


def test_an_upgrade_that_does_not_become_ready_is_taken_back(machine: Machine) -> None:
    machine.run(VERSION="1")
    machine.run("upgrade", VERSION="2")
    machine.starts()
    done = machine.run("upgrade", VERSION="3", BROKEN="3", SOCKET="other")
    assert done.returncode == 1
    assert "3 did not become ready" in done.stderr
    assert "2, serves again" in done.stderr
    assert machine.starts() == ["restart versions/3", "restart versions/2"]
    assert machine.home.joinpath("current").readlink() == Path("versions/2")
    assert "other" not in (machine.units / "edged.socket").read_text()
    assert sorted(path.name for path in (machine.home / "versions").iterdir()) == ["1", "2"]


def test_a_switch_that_was_interrupted_is_judged_by_the_next_run(machine: Machine) -> None:
    """The new version was in use, and nobody saw whether it became ready."""
    machine.run(VERSION="1")
    machine.run(VERSION="2")
    machine.home.joinpath("proven").unlink()
    machine.home.joinpath("proven").symlink_to("versions/1")
    machine.starts()
    assert machine.run(VERSION="2", BROKEN="2").returncode == 1
    assert machine.starts() == ["restart versions/2", "restart versions/1"]


def test_a_first_version_that_does_not_become_ready_stays_for_the_next_run(machine: Machine) -> None:
    done = machine.run(BROKEN="1")
    assert done.returncode == 1
    assert "did not become ready" in done.stderr
    assert machine.run().returncode == 0
    assert machine.starts() == ["restart versions/1", "restart versions/1"]


def test_when_the_old_version_fails_as_well_that_is_said(machine: Machine) -> None:
    machine.run(VERSION="1")
    done = machine.run("upgrade", VERSION="2", BROKEN="1 2")
    assert done.returncode == 1
    assert "the old version does not become ready either" in done.stderr


def test_only_what_is_installed_can_be_upgraded(machine: Machine) -> None:
    done = machine.run("upgrade")
    assert done.returncode == 1
    assert "not installed as a service" in done.stderr


def test_another_port_of_the_unit_is_closed_before_it_is_opened_anew(machine: Machine) -> None:
    machine.run(VERSION="1")
    machine.run("upgrade", VERSION="2")
    calls = (machine.folder / "calls").read_text()
    assert "systemctl stop" not in calls
    machine.run("upgrade", VERSION="3", SOCKET="other")
    assert "systemctl stop edged.socket edged.service" in (machine.folder / "calls").read_text()


@pytest.mark.parametrize(("systemd", "there"), [("252", False), ("254", True), ("257", True)])
def test_settings_that_systemd_does_not_know_are_left_out(
    machine: Machine, systemd: str, there: bool
) -> None:
    machine.run(SYSTEMD=systemd)
    assert ("RestartSteps=" in (machine.units / "edged.service").read_text()) == there


def test_missing_models_are_copied_with_their_receipts_and_then_checked(machine: Machine) -> None:
    mine = machine.folder / ".local/share/edged/models"
    (mine / ".receipts").mkdir(parents=True)
    (mine / "minilm.gguf").write_text("weights")
    (mine / ".receipts/minilm.gguf.json").write_text("{}")
    (mine / "other.gguf").write_text("weights")
    done = machine.run(MISSING="minilm minilm.gguf")
    assert done.returncode == 0, done.stderr
    assert (machine.models / "minilm.gguf").read_text() == "weights"
    assert (machine.models / ".receipts/minilm.gguf.json").read_text() == "{}"
    assert not (machine.models / "other.gguf").exists()
    assert (machine.folder / "calls").read_text().count(f"edged pull --config {machine.config} minilm\n") == 1


def test_another_program_s_command_is_left_alone(machine: Machine) -> None:
    machine.command.write_text("theirs")
    assert "stays" in machine.run().stderr
    machine.run("uninstall")
    assert machine.command.read_text() == "theirs"


def test_uninstall_leaves_configuration_and_models(machine: Machine) -> None:
    machine.run(DEFAULTS="# of version 1")
    machine.run("upgrade", VERSION="2", DEFAULTS="# of version 2")
    (machine.models / "minilm.gguf").write_text("weights")
    (machine.models.parent / "calibration.json").write_text("{}")
    assert machine.config.with_name("edged.yaml.new").exists()
    done = machine.run("uninstall")
    assert done.returncode == 0, done.stderr
    assert machine.left() == {"etc/edged/edged.yaml", "var/lib/edged/models/minilm.gguf"}
    assert machine.run("uninstall").returncode == 0


def test_purge_leaves_nothing(machine: Machine) -> None:
    machine.run()
    (machine.models / "minilm.gguf").write_text("weights")
    (machine.units / "edged.service.d").mkdir()
    (machine.units / "edged.service.d/override.conf").write_text("[Service]\n")
    assert machine.run("uninstall", "--purge").returncode == 0
    assert machine.left() == set()


def test_status_of_nothing_says_so(machine: Machine) -> None:
    done = machine.run("status")
    assert (done.returncode, done.stdout) == (3, "edged is not installed as a service\n")


def test_status_names_the_version_and_the_one_before(machine: Machine) -> None:
    machine.run(VERSION="1")
    machine.run("upgrade", VERSION="2")
    done = machine.run("status")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^version +2$", done.stdout, re.MULTILINE)
    assert re.search(r"^previous +1$", done.stdout, re.MULTILINE)
    assert re.search(r"^ready +yes$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [("service", "--whels"), ("upgrade", "now"), ("uninstall", "--all"), ("status", "x")]
)
def test_unknown_arguments_change_nothing(machine: Machine, arguments: tuple[str, ...]) -> None:
    done = machine.run(*arguments)
    assert done.returncode == 2
    assert "unknown arguments" in done.stderr
    assert machine.left() == set()


def test_a_folder_without_wheels_is_refused(machine: Machine) -> None:
    for arguments in (("--wheels", "nowhere"), ("service", "--wheels=nowhere")):
        done = machine.run(*arguments)
        assert done.returncode == 1
        assert "there are no wheels in nowhere" in done.stderr


def _wheels(machine: Machine, *names: str) -> Path:
    folder = machine.folder / "the wheels"
    folder.mkdir()
    for name in names:
        (folder / f"{name}-1.0-py3-none-any.whl").touch()
    return folder


def _check_wheels(machine: Machine, wheels: Path) -> subprocess.CompletedProcess[str]:
    return machine.bash(f"python='{sys.executable}'; wheels='{wheels}'; check_wheels")


def test_wheels_that_are_lacking_are_named_all_at_once(machine: Machine) -> None:
    done = _check_wheels(machine, _wheels(machine, "Flask", "PyYAML", "huggingface_hub", "llama_cpp_python"))
    assert done.returncode == 1
    for lacking in ("msgspec>=", "systemd-python>=", "waitress>=", "setuptools>="):
        assert f"\n    {lacking}" in done.stderr
    for there in ("flask", "pyyaml", "huggingface-hub", "llama-cpp-python"):
        assert f"\n    {there}" not in done.stderr


def test_a_wheel_of_edged_needs_nothing_to_build_it(machine: Machine) -> None:
    assert "setuptools" not in _check_wheels(machine, _wheels(machine, "edged")).stderr


def test_a_version_is_named_by_what_it_is_made_from(machine: Machine) -> None:
    named = f"python='{sys.executable}'; llama_key() {{ echo \"$KEY\"; }}; version_name"
    first = machine.bash(named, KEY="1").stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{16}\n", first)
    assert machine.bash(named, KEY="1").stdout == first
    assert machine.bash(named, KEY="2").stdout != first
