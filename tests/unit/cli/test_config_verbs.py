"""`edged check-config` and `edged config-schema` as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

SHIPPED = Path(__file__).parents[3] / "config" / "edged.yaml"


def edged(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: exit codes and stderr are what is tested."""
    program = "from edged.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=SHIPPED.parents[1],
        env={"HOME": str(home)},
    )


def test_check_config_says_what_it_would_serve(tmp_path: Path) -> None:
    done = edged("check-config", "config/edged.yaml", home=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "config/edged.yaml: OK: serves minilm, smollm2 on 127.0.0.1:8080, access loopback"
    assert second == f"models in {tmp_path}/.local/share/edged/models, state in {tmp_path}/.local/state/edged"


def test_check_config_lists_every_problem_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "edged.yaml"
    file.write_text("models: {minilm: {file: m.gguf, n_ctx: lots}}\nserver: {port: -1}")
    done = edged("check-config", str(file), "--set", "access.mode=x", home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f'edged: {file}: models.minilm.n_ctx: expected a positive integer, got "lots" (or write auto)',
        f"edged: {file}: server.port: expected an integer from 0 to 65535, got -1",
        'edged: --set access.mode: expected one of loopback, lan, any, got "x"',
    ]


def test_config_schema_is_json(tmp_path: Path) -> None:
    done = edged("config-schema", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["properties"]["models"]["propertyNames"]["pattern"]
