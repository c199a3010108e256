"""`edged key` as its user runs it."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edged.cli.main import cli
from edged.config.keys import digest_of, parse_key
from edged.config.load import load
from edged.errors import ConfigError, EdgedError


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = tmp_path / "edged.yaml"
    config.write_text("access: {mode: any}")
    monkeypatch.setenv("EDGED_CONFIG", str(config))
    return config


def key(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["key", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_key_is_printed_once_and_kept_as_a_hash(config: Path) -> None:
    with pytest.raises(ConfigError):
        load(config)  # mode any needs one, and `add` must work before there is
    result = key("add", "tablet")
    made = result.stdout.strip()
    file = config.with_name("api_keys")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made not in file.read_text()
    [line] = load(config).access.api_keys
    kept = parse_key(line)
    assert (kept.name, kept.scopes, kept.digest) == ("tablet", frozenset({"use"}), digest_of(made.encode()))
    assert "systemctl reload edged" in result.stderr
    assert "all needs a key" in result.stderr


def test_scopes_names_and_lists(config: Path) -> None:
    key("add", "admin", "--scope", "manage", "--scope", "pull")
    file = config.with_name("api_keys")
    file.write_text(file.read_text() + "# of the old days\nkept-in-plain-text\n")
    key("add", "prometheus", "--scope", "metrics")
    assert [line.split() for line in key("list").stdout.splitlines()] == [
        ["NAME", "FOR", "KEPT", "AS"],
        ["admin", "manage,", "pull", "hash"],
        ["access.api_keys[1]", "use,", "metrics,", "manage,", "pull", "plain", "text"],
        ["prometheus", "metrics", "hash"],
    ]
    assert "kept-in-plain-text" not in key("list").stdout
    key("remove", "admin")
    text = file.read_text()
    assert "# of the old days\nkept-in-plain-text\nprometheus metrics sha256:" in text
    assert "admin" not in text
    with pytest.raises(EdgedError, match="there is no key of the name admin; there are: prometheus"):
        key("remove", "admin")


def test_a_name_is_taken_once(config: Path) -> None:
    key("add", "tablet")
    before = config.with_name("api_keys").read_bytes()
    with pytest.raises(EdgedError, match="a key of the name tablet already"):
        key("add", "tablet", "--scope", "pull")
    with pytest.raises(EdgedError, match="a key's name has"):
        key("add", "Two words")
    assert key("add", "other", "--scope", "everything").exit_code == 2
    assert config.with_name("api_keys").read_bytes() == before


def test_the_last_key_stays_where_one_is_needed(config: Path) -> None:
    key("add", "tablet")
    with pytest.raises(EdgedError, match=r"access\.mode any needs one"):
        key("remove", "tablet")
    config.write_text("access: {mode: lan}")
    assert "without keys" in key("remove", "tablet").stderr
    assert load(config).access.api_keys == ()


def test_a_file_that_cannot_be_written_is_an_error_and_stays(config: Path) -> None:
    config.with_name("api_keys").mkdir()
    with pytest.raises(EdgedError, match="api_keys: "):
        key("add", "tablet")


def test_in_a_container_they_are_put_where_edged_looks_for_them(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = config.with_name("keys")
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    key("add", "tablet")
    assert (folder / "api_keys").exists()
    assert len(load(config).access.api_keys) == 1


def test_rights_that_were_too_wide_are_taken_back(config: Path) -> None:
    file = config.with_name("api_keys")
    file.write_text("kept-in-plain-text")
    file.chmod(0o644)
    key("add", "tablet")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(load(config).access.api_keys) == 2
