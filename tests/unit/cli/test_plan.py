"""`edged plan` as a user sees it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from edged.cli.main import cli
from edged.cli.plan import row
from edged.config.load import load
from edged.errors import ConfigError
from edged.lifecycle import planner
from edged.lifecycle.calibration import Calibration, Measurement
from edged.lifecycle.comparison import Times
from edged.lifecycle.planner import Planned
from edged.policy.plan import plan
from edged.policy.types import Measured
from tests.unit.policy.machines import MIB, machine, model, plan_one, settings

PROBLEMS = {"gone": "the file is not there"}


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of three models, two of which are planned on an invented machine."""
    (tmp_path / "models").mkdir()
    path = tmp_path / "edged.yaml"
    path.write_text(
        f"storage: {{model_dir: {tmp_path}/models, state_dir: {tmp_path}/state}}\n"
        "models: {minilm: {file: minilm.gguf}, smollm2: {file: smollm2.gguf}, gone: {file: gone.gguf}}\n"
    )
    models = [model("minilm"), model("smollm2")]

    def plan_models(config: Any, measured: Any) -> Planned:
        snapshot = machine(available_bytes=500 * MIB)
        plans = plan(snapshot, models, settings(), measured)
        problems = {name: text for name, text in PROBLEMS.items() if name in config.models}
        return Planned(snapshot=snapshot, plans=plans, problems=problems)

    monkeypatch.setattr(planner, "plan_models", plan_models)
    return path


def edged_plan(config: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(cli, ["plan", "--config", str(config), *arguments])


def test_the_table_and_the_reasons(config: Path) -> None:
    result = edged_plan(config)
    assert result.exit_code == 1  # one is not installed
    table, _, reasons = result.output.partition("┘\n") if "┘" in result.output else ("", "", "")
    assert [name for name in ("minilm", "smollm2", "gone") if name in table] == ["minilm", "smollm2", "gone"]
    for expected in ("strategy", "answer", "last", "warm", "512 x 64", "MiB"):
        assert expected in table
    lines = reasons.splitlines()
    assert "minilm" in lines
    assert lines[-2:] == ["gone", "  not installed: edged pull gone"]
    assert any(line.startswith("  full settings need ") for line in lines)


def test_a_file_that_is_there_but_unusable_says_why(config: Path) -> None:
    (config.parent / "models" / "gone.gguf").write_text("no model")
    result = edged_plan(config)
    assert result.exit_code == 1
    assert "  the file is not there" in result.output.splitlines()


def test_json(config: Path) -> None:
    result = edged_plan(config, "--json")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert [each["model"] for each in document["plans"]] == ["minilm", "smollm2"]
    assert document["plans"][0]["predicted"]["anon_bytes"] > 0
    assert document["problems"] == {"gone": "not installed: edged pull gone"}


def test_everything_installed_is_success(config: Path) -> None:
    text = config.read_text().replace(", gone: {file: gone.gguf}", "")
    config.write_text(text)
    assert edged_plan(config).exit_code == 0


def test_no_models(config: Path) -> None:
    config.write_text("")
    result = edged_plan(config)
    assert (result.exit_code, result.output) == (0, "no models are configured; see `edged models`\n")


def test_a_wrong_override_is_a_config_error(config: Path) -> None:
    result = edged_plan(config, "--set", "models.minilm.n_ctx=lots")
    assert isinstance(result.exception, ConfigError)
    assert "--set models.minilm.n_ctx: expected a positive integer" in str(result.exception)


def test_what_the_last_load_took_stands_beside_the_prediction(config: Path) -> None:
    planned = {each.model: each for each in planner.plan_models(load(config), Measured()).plans}
    calibration = Calibration.load(config.parent / "state" / "calibration.json")
    took = Measurement(size_bytes=1, device="mmcblk0", ready_s=7.25, timings_s={})
    calibration.record(planned["smollm2"], took)
    calibration.record_first_answer(planned["smollm2"], 8.5)
    calibration.record(msgspec.structs.replace(planned["minilm"], strategy="lazy"), took)
    calibration.store(calibration.encoded())
    table = edged_plan(config).output
    assert "7.2 s" in table
    assert "8.5 s" in table
    plans = {each["model"]: each for each in json.loads(edged_plan(config, "--json").output)["plans"]}
    assert plans["smollm2"]["measured"] == {"ready_s": 7.25, "first_answer_s": 8.5}
    assert plans["smollm2"]["predicted"]["ready_s"] > 0
    assert plans["minilm"]["measured"] == {"ready_s": None, "first_answer_s": None}  # by another strategy


def test_rows() -> None:
    never = Times()
    warm = row(plan_one(machine(), model("smollm2")), Times(ready_s=2.0))
    assert warm[:2] == ("smollm2", "warm")
    assert warm[4] == "4096 x 4"
    assert (warm[6], warm[8]) == ("2 s", "-")
    refused = row(plan_one(machine(available_bytes=MIB), model("smollm2")), never)
    assert refused[1] == "refused"
    assert refused[-4:] == ("-", "-", "-", "-")
    later = row(plan_one(machine(), model("smollm2", strategy="warm", preload=False)), never)
    assert later[1] == "warm, on demand"
    unknown = row(plan_one(machine(bytes_per_s=None), model("smollm2")), never)
    assert unknown[-2:] == ("unknown", "-")
