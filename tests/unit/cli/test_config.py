"""`edged config get`, `set` and `edit` on real files, as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = """\
# a comment
models:
  smollm2:
    file: smollm2.gguf
    n_ctx: 1024  # enough
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "edged.yaml"
    file.write_text(TEXT)
    return file


def config(*arguments: str, file: Path, editor: str = "false") -> subprocess.CompletedProcess[str]:
    """A verb of `edged config`; `editor` is a shell command that gets the file's name."""
    verb, *rest = arguments
    program = "from edged.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "config", verb, "--config", str(file), *rest],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={"HOME": str(file.parent), "PATH": os.environ["PATH"], "EDITOR": editor},
    )


def test_set_changes_the_file_and_says_how_it_takes_effect(file: Path) -> None:
    done = config("set", "models.smollm2.n_ctx", "2048", file=file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: models.smollm2.n_ctx: 1024 → 2048",
        "To apply it: systemctl reload edged",
    ]
    assert file.read_text() == TEXT.replace("1024", "2048")
    again = config("set", "models.smollm2.n_ctx", "2048", file=file)
    assert again.stdout == f"{file}: nothing has changed\n"


def test_set_says_when_only_a_restart_helps(file: Path) -> None:
    assert "systemctl restart edged" in config("set", "server.port", "9090", file=file).stdout


def test_set_takes_what_looks_like_an_option_as_a_value(file: Path) -> None:
    done = config("set", "server.port", "-1", file=file)
    assert done.returncode == 2
    assert "expected an integer from 0 to 65535, got -1" in done.stderr


def test_set_refuses_what_is_wrong_and_leaves_the_file(file: Path) -> None:
    done = config("set", "models.smolm2.n_ctx", "2048", file=file)
    assert done.returncode == 2
    assert "did you mean smollm2?" in done.stderr
    assert file.read_text() == TEXT


def test_get_prints_values_as_they_are_written(file: Path) -> None:
    assert config("get", "models.smollm2.n_ctx", file=file).stdout == "1024\n"
    assert config("get", "models.smollm2.preload", file=file).stdout == "true\n"
    assert config("get", "access.hosts", file=file).stdout == "[]\n"
    assert "n_ctx: 1024\n" in config("get", "models", file=file).stdout
    everything = config("get", file=file).stdout
    assert everything.startswith("server:\n  host: 127.0.0.1\n")
    wrong = config("get", "server.prt", file=file)
    assert wrong.returncode == 1
    assert "did you mean port?" in wrong.stderr


def test_edit_replaces_the_file_when_it_is_right(file: Path) -> None:
    done = config("edit", file=file, editor="sed -i s/1024/512/")
    assert (done.returncode, done.stderr) == (0, "")
    assert "models.smollm2.n_ctx: 1024 → 512" in done.stdout
    assert file.read_text() == TEXT.replace("1024", "512")


def test_edit_keeps_the_old_file_and_the_wrong_text(file: Path) -> None:
    done = config("edit", file=file, editor="sed -i s/1024/lots/")
    kept = file.with_name("edged.yaml.rejected")
    assert done.returncode == 2
    first, last = done.stderr.splitlines()
    assert first.startswith(f'edged: {file}: models.smollm2.n_ctx: expected a positive integer, got "lots"')
    assert last == f"edged: {file} is as it was; what you wrote is in {kept}"
    assert file.read_text() == TEXT
    assert kept.read_text() == TEXT.replace("1024", "lots")
    assert kept.stat().st_mode & 0o077 == 0


def test_edit_that_changes_nothing_or_fails_leaves_the_file(file: Path) -> None:
    assert config("edit", file=file, editor="true").stdout == f"{file}: nothing has changed\n"
    failed = config("edit", file=file, editor="false")
    assert failed.returncode == 1
    assert "false" in failed.stderr
    assert file.read_text() == TEXT
