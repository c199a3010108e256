"""Changing a configuration file as a person would: its comments, order and layout stay."""

import contextlib
import difflib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edged.config import tree
from edged.config.load import load_text, split_path
from edged.config.schema import Config, Model
from edged.config.shape import fields_of
from edged.config.units import written
from edged.errors import ConfigError, EdgedError

_NEVER_FOLD = 1 << 16


def value_at(config: Config, path: str) -> Any:
    """What is in force at a dotted path (empty: everything), as it would be written; secrets only when named.

    Raises EdgedError for a path that there is not, with the nearest one.
    """
    value: Any = config
    done: list[str] = []
    for key in split_path(path, config.models) if path else []:
        known = dict(value) if isinstance(value, dict) else _items(value)
        if key not in known:
            raise EdgedError(_no_such(done, key, known))
        value = known[key]
        done.append(key)
    return written(value) if not isinstance(value, dict | msgspec.Struct) else _plain(value)


def with_value(text: str, source: str, path: str, value: str) -> str:
    """The text with one key changed or added. `value` is YAML.

    Raises ConfigError for a value or a path that cannot be, with all that is then wrong with the file.
    """
    before = _parsed(text, source)
    keys = _keys(before, path, value)
    changed = _replaced(text, source, keys, value)
    config = load_text(changed, source)
    if _without(before, keys) != _without(_parsed(changed, source), keys):
        raise ConfigError(
            [f"{source}: cannot be changed without touching other parts of it; edit it by hand"]
        )
    value_at(config, path)
    return changed


def write(file: Path, text: str, mode: int | None = None) -> None:
    """Replace a file in one step; owner and group stay, and so does its mode unless another one is given.

    With a mode the file may be new. Raises EdgedError.
    """
    real = file.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                if real.exists() or mode is None:
                    _take_after(real, stream.fileno())
                if mode is not None:
                    os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, real)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise EdgedError(f"{file}: cannot be written: {error.strerror}; the file is as it was") from error


def _take_after(real: Path, descriptor: int) -> None:
    """Give a new file the rights of the one whose place it takes."""
    status = real.stat()
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    shutil.copymode(real, f"/proc/self/fd/{descriptor}")


def _items(section: Any) -> dict[str, Any]:
    if not isinstance(section, msgspec.Struct):
        return {}
    return {name: getattr(section, name) for name in fields_of(type(section))}


def _plain(value: Any) -> Any:
    """A section for a YAML document; the values of secrets are only counted."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if not isinstance(value, msgspec.Struct):
        return written(value)
    secret = {name for name, field in fields_of(type(value)).items() if field.shape.secret}
    return {
        name: f"({len(each)} not shown)" if name in secret and each else _plain(each)
        for name, each in _items(value).items()
    }


def _no_such(done: Iterable[str], key: str, known: Iterable[str]) -> str:
    where = ".".join([*done, key])
    close = difflib.get_close_matches(key, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'nothing'}"
    return f"{where}: there is no such key; {hint}"


def _parsed(text: str, source: str) -> tree.Mapping:
    try:
        root, duplicates = tree.parse(text, source)
    except tree.SyntaxProblem as problem:
        raise ConfigError([f"{source}: {problem}"]) from None
    if duplicates:
        raise ConfigError([f"{source}: {path}: is given twice; keep one" for path in duplicates])
    return root if isinstance(root, tree.Mapping) else tree.Mapping(source, {})


def _keys(root: tree.Mapping, path: str, value: str) -> list[str]:
    """The path's keys. A model is only made by naming its file: any other key for it is a slip."""
    found = root.items.get("models")
    models: Mapping[str, Any] = found.items if isinstance(found, tree.Mapping) else {}
    keys = split_path(path, models)
    if keys[0] != "models" or len(keys) < 2 or keys[1] in models:
        return keys
    if len(keys) == 3 and keys[2] not in fields_of(Model) and value.lstrip().startswith("{"):
        return ["models", path.removeprefix("models.")]  # an id with a dot in it
    if len(keys) == 3 and keys[2] != "file":
        why = _no_such(["models"], keys[1], models)
        raise ConfigError([f"{why} (a new model begins with its file: set models.{keys[1]}.file)"])
    return keys


def _replaced(text: str, source: str, keys: list[str], value: str) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NEVER_FOLD
    yaml.indent(**_indents(text))
    try:
        new = yaml.load(value)
    except YAMLError as error:
        raise ConfigError([f"{'.'.join(keys)}: the value is no YAML: {_one_line(error)}"]) from error
    try:
        root = yaml.load(text)
    except YAMLError as error:
        raise ConfigError([f"{source}: {_one_line(error)}"]) from error
    section = root = root if isinstance(root, CommentedMap) else CommentedMap()
    for key in keys[:-1]:
        if not isinstance(section.get(key), CommentedMap):
            section[key] = CommentedMap()
        section = section[key]
    section[keys[-1]] = new
    out = io.StringIO()
    yaml.dump(root, out)
    return out.getvalue()


def _indents(text: str) -> dict[str, int]:
    """How the file is indented: by the first key below a section, and the first dash below a key."""
    step, dash = (_first_below(text, mark) for mark in (r"[^\s#-]", "- "))
    offset = 2 if dash is None else dash
    return {"mapping": step or 2, "sequence": offset + 2, "offset": offset}


def _first_below(text: str, mark: str) -> int | None:
    """By how much the first line that begins with `mark` is indented against the open key above it."""
    blank = r"(?:[ ]*(?:#[^\n]*)?\n)*"
    for found in re.finditer(rf"^( *)[^\s#-][^\n#]*:[ ]*(?:#[^\n]*)?\n{blank}( *){mark}", text, re.MULTILINE):
        if len(found[2]) > len(found[1]) or (mark == "- " and found[1] == found[2]):
            return len(found[2]) - len(found[1])
    return None


def _without(node: tree.Node, keys: list[str]) -> tree.Node:
    """A tree less one path, and less sections that hold nothing."""
    if not isinstance(node, tree.Mapping):
        return node
    items = {}
    for key, child in node.items.items():
        if key == keys[0] and len(keys) == 1:
            continue
        left = _without(child, keys[1:]) if key == keys[0] else child
        if key != keys[0] or not (tree.is_nothing(left) or left == tree.Mapping(left.source, {})):
            items[key] = left
    return tree.Mapping(node.source, items)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
