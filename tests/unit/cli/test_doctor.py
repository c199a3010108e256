"""`edged doctor` as a user sees it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edged.cli.main import cli
from edged.doctor import gather
from edged.doctor.facts import Facts
from edged.errors import ConfigError
from tests.unit.doctor.invented import facts, installed, storage


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / "edged.yaml"
    path.write_text("models: {smollm2: {file: smollm2.gguf}}\n")
    return path


def doctor(config: Path, monkeypatch: pytest.MonkeyPatch, known: Facts, *arguments: str) -> Result:
    monkeypatch.setattr(gather, "gather", lambda _config: known)
    return CliRunner().invoke(cli, ["doctor", "--config", str(config), *arguments])


def test_nothing_wrong(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor(config, monkeypatch, facts())
    assert (result.exit_code, result.output) == (0, "nothing here slows a cold start\n")


def test_a_problem_with_its_cost_and_its_fix(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor(config, monkeypatch, facts(on=storage(readahead_bytes=0)))
    assert result.exit_code == 1
    problem, cost, now, ever_after = result.output.splitlines()
    assert problem.startswith("! readahead: the kernel reads 0 KiB ahead on mmcblk0")
    assert cost.startswith("    cost: ")
    assert now == "    fix:  echo 512 | sudo tee /sys/block/mmcblk0/queue/read_ahead_kb"
    assert ever_after.endswith("/etc/udev/rules.d/60-edged-readahead.rules")


def test_hints_and_the_unknown_are_nothing_wrong(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmeasured = facts(installed(receipt="none"), on=storage(sequential_bytes_per_s=None))
    result = doctor(config, monkeypatch, unmeasured)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("- receipt: ")
    assert any(line.startswith("? storage_rate: ") for line in lines)
    assert lines[-1] == "nothing is wrong"


def test_json(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = doctor(config, monkeypatch, facts(lazy_available=False), "--json")
    assert result.exit_code == 1
    found = {each["check"]: each for each in json.loads(result.output)["findings"]}
    assert found["lazy_map"]["level"] == "problem"
    assert found["lazy_map"]["cost_s"] > 2
    assert found["lazy_map"]["fix"] == ["sudo apt-get install gcc python3-dev && ./install.sh run"]


def test_a_wrong_configuration_is_a_config_error(config: Path) -> None:
    config.write_text("modles: {}\n")
    result = CliRunner().invoke(cli, ["doctor", "--config", str(config)])
    assert isinstance(result.exception, ConfigError)
