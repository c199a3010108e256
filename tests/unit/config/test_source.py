"""A configuration that is read again."""

from pathlib import Path

import pytest

from edged.config.source import Source


def test_keys_that_were_handed_over_hold_until_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "api_keys").write_text("a-key-as-systemd-copied-it")
    file = tmp_path / "edged.yaml"
    file.write_text("server: {port: 1}")
    source = Source(file, ["server.max_requests=3"])
    assert source.read().access.api_keys == ("a-key-as-systemd-copied-it",)
    source.take_keys("another-key-for-the-tablet")
    file.write_text("server: {port: 2}")
    for _ in range(2):
        config = source.read()
        assert config.access.api_keys == ("another-key-for-the-tablet",)
        assert (config.server.port, config.server.max_requests) == (2, 3)
    source.take_keys("")
    assert source.read().access.api_keys == ()
