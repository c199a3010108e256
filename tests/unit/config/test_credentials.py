import os
from pathlib import Path

import pytest

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


@pytest.fixture
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.mark.usefixtures("no_service")
def test_outside_the_service_they_stand_beside_the_configuration(tmp_path: Path) -> None:
    config = _written(tmp_path, "access: {mode: any}")
    with pytest.raises(ConfigError, match="edged key add"):
        load(config)
    (tmp_path / "api_keys").write_text(_KEY)
    assert load(config).access.api_keys == (_KEY,)
    assert load(config, keys=_OTHER).access.api_keys == (_KEY,)  # only the service is handed any


@pytest.mark.usefixtures("no_service")
def test_nobody_elses_file_lets_him_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, keys = _written(tmp_path, ""), tmp_path / "api_keys"
    keys.write_text(_KEY)
    os.chown(keys, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        load(config)
    os.chown(config, 12345, 12345)
    assert load(config).access.api_keys == (_KEY,)


def test_what_is_handed_over_takes_the_place_of_what_systemd_copied(
    tmp_path: Path, credentials: Path
) -> None:
    credentials.write_text(_KEY)
    config = _written(tmp_path, "")
    assert load(config, keys=f"# new\n{_OTHER}\n").access.api_keys == (_OTHER,)
    assert load(config, keys="").access.api_keys == ()
    assert load(config).access.api_keys == (_KEY,)


def test_a_huge_file_is_not_read(tmp_path: Path, credentials: Path) -> None:
    credentials.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(_written(tmp_path, ""))
