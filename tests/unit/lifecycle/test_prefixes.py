"""Folders of prefixes that no model uses any more."""

from pathlib import Path

from edged.config.schema import Bytes, Config, Model, Storage
from edged.lifecycle.prefixes import prefix_folder, remove_unused


def test_only_folders_of_models_that_keep_prefixes_stay(tmp_path: Path) -> None:
    config = Config(
        storage=Storage(state_dir=str(tmp_path)),
        models={"kept": Model(file="m.gguf"), "off": Model(file="m.gguf", prefix_cache=Bytes(0))},
    )
    remove_unused(config)  # nothing is there yet
    for name in ("kept", "off", "gone"):
        prefix_folder(config, name).mkdir(parents=True)
        (prefix_folder(config, name) / "a.kv").write_bytes(b"cells")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    (tmp_path / "prefixes" / "link").symlink_to(elsewhere)
    (tmp_path / "prefixes" / "file").touch()
    remove_unused(config)
    assert [path.name for path in (tmp_path / "prefixes").iterdir()] == ["kept"]
    assert (prefix_folder(config, "kept") / "a.kv").exists()
    assert (elsewhere / "mine").exists(), "links are not followed"
