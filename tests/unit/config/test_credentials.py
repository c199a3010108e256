from pathlib import Path

import pytest

from edged.config import load as load_module
from edged.config.load import load
from edged.errors import ConfigError

_KEY, _OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that systemd would hand over; not there yet."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path / "api_keys"


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "edged.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["", "access:", "access: {mode: any}", "access: {api_keys: }"])
def test_keys_come_from_the_file(tmp_path: Path, credentials: Path, text: str) -> None:
    credentials.write_text(f"# of the kitchen's tablet\n{_KEY}\n\n  {_OTHER}  \n")
    assert load(_written(tmp_path, text)).access.api_keys == (_KEY, _OTHER)


def test_they_follow_those_of_the_configuration(tmp_path: Path, credentials: Path) -> None:
    credentials.write_text(_OTHER)
    config = load(_written(tmp_path, f"access: {{api_keys: [{_KEY}]}}"))
    assert config.access.api_keys == (_KEY, _OTHER)


@pytest.mark.parametrize("content", [None, "", "# no keys"])
def test_without_keys_nothing_changes(tmp_path: Path, credentials: Path, content: str | None) -> None:
    if content is not None:
        credentials.write_text(content)
    assert load(_written(tmp_path, "")).access.api_keys == ()


def test_a_short_key_is_reported_by_its_file_and_not_shown(tmp_path: Path, credentials: Path) -> None:
    credentials.write_text("hunter2")
    with pytest.raises(ConfigError) as caught:
        load(_written(tmp_path, ""))
    assert f"{credentials}: access.api_keys[0]: expected " in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "access: 5", "access: {api_keys: 5}"])
def test_what_is_wrong_with_the_configuration_is_still_said(
    tmp_path: Path, credentials: Path, text: str
) -> None:
    credentials.write_text(_KEY)
    with pytest.raises(ConfigError, match=r"edged\.yaml: .*expected a (mapping|list)"):
        load(_written(tmp_path, text))


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path, credentials: Path) -> None:
    credentials.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="api_keys: cannot be read"):
        load(_written(tmp_path, ""))


def test_outside_the_service_they_stand_beside_the_system_s_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    system = _written(tmp_path, "access: {mode: any}")
    (tmp_path / "api_keys").write_text(_KEY)
    with pytest.raises(ConfigError):
        load(system)  # any other file's folder is not looked into
    monkeypatch.setattr(load_module, "SYSTEM_FILE", system)
    assert load(system).access.api_keys == (_KEY,)
