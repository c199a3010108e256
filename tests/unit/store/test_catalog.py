from pathlib import Path

import pytest
import yaml

from edged.errors import ConfigError
from edged.store import catalog
from edged.store.catalog import Wheels

_ENTRY = """
models:
  - id: tiny
    description: a model
    license: MIT
    kind: generate
    variants: [{weights: q4_1, size_bytes: 10, memory_bytes: 20}]
    files: [{name: a.gguf, size_bytes: 10, sha256: %s}]
    sources:
      - type: wheels
        wheels: [{requirement: tiny==1.0, size_bytes: 5, members: {a.gguf: tiny/a.gguf}}]
""" % ("a" * 64)


def _load(tmp_path: Path, text: str) -> dict[str, catalog.Entry]:
    file = tmp_path / "catalog.yaml"
    file.write_text(text)
    return catalog.load(file)


def test_shipped_catalog_has_the_three_models_with_pinned_files() -> None:
    entries = catalog.load()
    assert list(entries) == ["minilm", "smollm2", "gemma3-270m"]
    assert all(file.sha256 and file.size_bytes for entry in entries.values() for file in entry.files)
    assert all(entry.license and entry.description for entry in entries.values())


def test_every_model_has_a_source_that_needs_only_a_package_index() -> None:
    for entry in catalog.load().values():
        assert any(isinstance(source, Wheels) for source in entry.sources), entry.id


def test_ready_made_models_have_the_size_of_their_file() -> None:
    for entry in catalog.load().values():
        if not entry.convert:
            assert entry.files[0].size_bytes == entry.variants[0].size_bytes
        assert all(variant.memory_bytes > variant.size_bytes for variant in entry.variants)


def test_first_variant_is_the_default() -> None:
    minilm = catalog.load()["minilm"]
    default = minilm.variant(None)
    assert default is not None
    assert default.weights == "q8_0"
    assert minilm.variant("bf16") is not None
    assert minilm.variant("q2_k") is None
    assert minilm.file == "minilm.gguf"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("kind: generate", "kind: paint"), "kind"),
        (("license: MIT", "licence: MIT"), "licence"),
        (("size_bytes: 10, sha256", "size_bytes: 0, sha256"), "size_bytes"),
        (("a" * 64, "a" * 63), "sha256"),
        (("name: a.gguf", "name: ../a.gguf"), "name"),
        (("name: a.gguf", "name: /etc/passwd"), "name"),
        (("name: a.gguf", "name: b.gguf"), "b.gguf is not both in files and in members"),
        (("tiny==1.0", "tiny>=1.0"), "requirement"),
        (("tiny==1.0", "--index-url=http://evil"), "requirement"),
        (("id: tiny", "id: ../tiny"), "id"),
        (("    license: MIT", "    convert: true\n    license: MIT"), "cannot be converted to q4_1"),
        (("size_bytes: 10, sha256: %s" % ("a" * 64), "size_bytes: 10"), "size_bytes and sha256 are required"),
    ],
)
def test_wrong_catalogs_are_refused_with_the_place(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    assert change[0] in _ENTRY
    with pytest.raises(ConfigError, match=r"catalog\.yaml") as caught:
        _load(tmp_path, _ENTRY.replace(*change, 1))
    assert complaint in str(caught.value)


def test_an_id_listed_twice_is_refused(tmp_path: Path) -> None:
    models = yaml.safe_load(_ENTRY)["models"] * 2
    with pytest.raises(ConfigError, match="tiny: listed twice"):
        _load(tmp_path, yaml.safe_dump({"models": models}))


def test_broken_yaml_and_missing_file_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"catalog\.yaml"):
        _load(tmp_path, "models: [")
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        catalog.load(tmp_path / "absent.yaml")
