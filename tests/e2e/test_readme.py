"""What README says works: its requests are sent, its configuration loads, its table names every strategy."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from edged.config.load import load
from edged.policy.types import Strategy
from tests.e2e.daemon import PATIENCE_S, Daemon

_README = (Path(__file__).parents[2] / "README.md").read_text()
_REQUESTS = re.findall(r"^\$ (curl .*)$", _README, re.MULTILINE)
_ADDRESS = "127.0.0.1:8080"


def test_there_are_requests_for_each_main_call() -> None:
    for path in ("/v1/embeddings", "/v1/chat/completions", "/readyz"):
        assert any(path in request for request in _REQUESTS)


@pytest.mark.parametrize("request_line", _REQUESTS)
def test_a_request_of_the_readme_is_answered(daemon: Daemon, request_line: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here: README's requests cannot be sent as written")
    assert _ADDRESS in request_line
    command = shlex.split(request_line.split(" | ")[0].replace(_ADDRESS, f"127.0.0.1:{daemon.port}"))
    done = subprocess.run([*command, "--fail-with-body"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data: " in done.stdout or json.loads(done.stdout)


def test_its_configuration_loads(tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", _README, re.DOTALL)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert load(path).models
        assert yaml.safe_load(block)


def test_its_table_names_every_strategy() -> None:
    for strategy in get_args(Strategy):
        assert re.search(rf"^\| `?{strategy}`? \|", _README, re.MULTILINE), strategy
