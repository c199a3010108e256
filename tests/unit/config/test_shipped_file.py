"""config/edged.yaml is the reference: it loads, it validates, and it documents every key with its default."""

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from edged.config.json_schema import json_schema
from edged.config.load import load
from edged.config.schema import Config, Model
from edged.config.shape import Field, fields_of
from edged.config.units import written

SHIPPED = Path(__file__).parents[3] / "config" / "edged.yaml"


def every_key() -> list[tuple[str, Field]]:
    """The dotted paths of all keys as they stand in the shipped file."""
    keys: list[tuple[str, Field]] = []
    for name, section in fields_of(Config).items():
        keys.append((name, section))
        struct, prefix = (Model, "models.minilm") if name == "models" else (section.shape.base, name)
        keys += [(f"{prefix}.{field.name}", field) for field in fields_of(struct).values()]
    return keys


def documented(text: str) -> dict[str, tuple[str, str]]:
    """Each key of a block-style file with its value's text and the comment above it."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("# "))
        elif match := re.match(r"( *)([^ :]+): ?(.*)$", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            found[".".join(path)] = (match[3], " ".join(comment))
            comment = []
        else:
            comment = []
    return found


def test_it_loads_and_serves_the_two_models() -> None:
    assert load(SHIPPED) == Config(
        models={"minilm": Model(file="minilm.gguf"), "smollm2": Model(file="smollm2.gguf")}
    )


@pytest.mark.parametrize(
    ("path", "field"), every_key(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_key_is_there_with_its_meaning_and_its_default(path: str, field: Field) -> None:
    value, comment = documented(SHIPPED.read_text())[path]
    assert field.shape.description
    assert comment == field.shape.description
    if path == "models.minilm.file" or field.shape.is_struct or field.shape.base is dict:
        return
    assert yaml.safe_load(value) == yaml.safe_load(str(written(field.default)))


def test_it_holds_nothing_that_the_schema_does_not() -> None:
    known = {path for path, _ in every_key()}
    assert set(documented(SHIPPED.read_text())) - known == {
        "models.minilm",
        "models.smollm2",
        "models.smollm2.file",
    }


def test_the_commented_example_loads(tmp_path: Path) -> None:
    text = re.sub(r"^  # (gemma3-270m:|  \w+: \S+)$", r"  \1", SHIPPED.read_text(), flags=re.MULTILINE)
    (tmp_path / "edged.yaml").write_text(text)
    assert load(tmp_path / "edged.yaml").models["gemma3-270m"].strategy == "on_demand"


def validate(document: Any) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(document)


def test_it_validates_against_the_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft7Validator.check_schema(json_schema())
    validate(yaml.safe_load(SHIPPED.read_text()))


@pytest.mark.parametrize("text", ["", "server:", "models:", "models: {a: {file: x, n_ctx: 5, repack: true}}"])
def test_the_json_schema_accepts_what_the_reader_accepts(tmp_path: Path, text: str) -> None:
    (tmp_path / "edged.yaml").write_text(text)
    load(tmp_path / "edged.yaml")
    validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "servr: {}",
        "server: {port: lots}",
        "server: {port: 70000}",
        "server: {drain_timeout: 10}",
        "server: {drain_timeout: 10x}",
        "server: {max_body: 8XB}",
        "memory: {budget: -1}",
        "access: {mode: lann}",
        "access: {api_keys: [short]}",
        "models: {Big: {file: x}}",
        "models: {a: {}}",
        "models: {a: }",
        "models: {a: {file: x, type_k: q8_O}}",
    ],
)
def test_the_json_schema_refuses_what_the_reader_refuses(tmp_path: Path, text: str) -> None:
    (tmp_path / "edged.yaml").write_text(text)
    with pytest.raises(Exception, match=r"edged\.yaml: "):
        load(tmp_path / "edged.yaml")
    with pytest.raises(jsonschema.ValidationError):
        validate(yaml.safe_load(text))


def test_every_default_is_allowed_by_its_own_schema() -> None:
    for path, field in every_key():
        schema = json_schema()["properties"]
        for key in path.removeprefix("models.minilm.").split(".") if not path.startswith("models") else []:
            schema = schema[key] if key in schema else schema["properties"][key]
        if "default" in schema:
            jsonschema.Draft202012Validator(schema).validate(written(field.default))
    models = json_schema()["properties"]["models"]["additionalProperties"]["properties"]
    for name, field in fields_of(Model).items():
        if not field.required:
            jsonschema.Draft202012Validator(models[name]).validate(written(field.default))
