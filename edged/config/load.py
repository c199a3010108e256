"""Strict configuration from YAML: every problem at once, each as `file: path: reason`."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from edged.config import tree
from edged.config.credentials import add_api_keys
from edged.config.read import SET, Reading
from edged.config.rules import contradictions
from edged.config.schema import Config
from edged.errors import ConfigError

SYSTEM_FILE = Path("/etc/edged/edged.yaml")


def load(path: Path | None, overrides: Sequence[str] = (), keys: str | None = None) -> Config:
    """The configuration of a file (None: the standard places) with `key.path=value` overrides on top.

    `keys` take the place of systemd's credentials. Raises ConfigError with every problem found.
    """
    file = path if path is not None else standard_file()
    return load_text(read_text(file), str(file), overrides, keys)


def load_text(text: str, source: str, overrides: Sequence[str] = (), keys: str | None = None) -> Config:
    """The same of a text; `source` is the name of its file, beside which keys may lie."""
    reading = Reading()
    root = _parse(text, source, reading)
    root = add_api_keys(root, Path(source), keys)
    if overrides:
        root = root if isinstance(root, tree.Mapping) else _empty_or_wrong(root, source, reading)
        for override in overrides:
            _apply(override, root, reading)
    config = reading.config(root, source)
    for paths, reason in contradictions(config, reading.written):
        if not any(reading.is_broken(path) for path in paths):
            overridden = [path for path in paths[1:] if reading.written.get(path) == SET]
            note = f" ({', '.join(overridden)} comes from --set)" if overridden else ""
            reading.report(reading.written.get(paths[0], source), paths[0], reason + note)
    if reading.problems:
        raise ConfigError(reading.problems)
    return config


def standard_file() -> Path:
    """The file that is read when none is named: $EDGED_CONFIG, else /etc/edged/edged.yaml."""
    named = os.environ.get("EDGED_CONFIG")
    if named:
        return Path(named)
    if SYSTEM_FILE.exists():
        return SYSTEM_FILE
    raise ConfigError(
        [
            f"no configuration: $EDGED_CONFIG is not set and {SYSTEM_FILE} does not exist; "
            "name a file with --config"
        ]
    )


def load_or_default(file: Path | None) -> Config:
    """The configuration of `file`, else of the standard one, else the defaults. Raises ConfigError."""
    if file is None and "EDGED_CONFIG" not in os.environ and not SYSTEM_FILE.exists():
        return Config()
    return load(file)


def read_text(file: Path) -> str:
    """The text of a configuration file. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            content = stream.read(tree.MAX_TEXT_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{file}: is a folder; name the file in it"]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ConfigError([f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from None
    if len(content) > tree.MAX_TEXT_BYTES:
        raise ConfigError([f"{file}: larger than {tree.MAX_TEXT_BYTES >> 20} MiB, which is no configuration"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file}: line {line}: not UTF-8 text; save the file as UTF-8"]) from None


def _parse(text: str, source: str, reading: Reading) -> tree.Node | None:
    try:
        root, duplicates = tree.parse(text, source)
    except tree.SyntaxProblem as problem:
        raise ConfigError([f"{source}: {problem}"]) from None
    for path in duplicates:
        reading.report(source, path, "is given twice; keep one")
    return root


def _empty_or_wrong(root: tree.Node | None, source: str, reading: Reading) -> tree.Mapping:
    """What overrides are put into when the file holds no mapping; a file of something else is a problem."""
    reading.items(root or tree.nothing(source), "")
    return tree.Mapping(source=source, items={})


def _apply(override: str, root: tree.Mapping, reading: Reading) -> None:
    """Put one `key.path=value` into the tree; what is wrong with it, the reading reports like the rest."""
    path, equals, text = override.partition("=")
    path = path.strip()
    shown = tree.join("", path)
    if not equals or not path:
        reading.report(SET, shown or "…", "expected key.path=value, such as models.smollm2.strategy=lazy")
        return
    try:
        value, duplicates = tree.parse(text, SET)
    except tree.SyntaxProblem as problem:
        reading.report(SET, shown, f"the value is no YAML: {problem}")
        return
    for duplicate in duplicates:
        reading.report(SET, tree.join(shown, duplicate), "is given twice; keep one")
    section = root
    models = root.items.get("models")
    *parents, key = split_path(path, models.items if isinstance(models, tree.Mapping) else ())
    for parent in parents:
        child = section.items.get(parent)
        if not isinstance(child, tree.Mapping):
            # Missing or empty sections are made; one that holds something else is reported as it stands.
            if child is not None and not tree.is_nothing(child):
                return
            child = tree.Mapping(source=SET, items={})
            section.items[parent] = child
        section = child
    section.items[key] = value or tree.nothing(SET)


def split_path(path: str, models: Iterable[str]) -> list[str]:
    """The keys of a dotted path. Model ids may hold dots: the longest configured id that fits is meant,

    and for a new model everything up to the last dot, since the keys of a model hold none.
    """
    section, dot, rest = path.partition(".")
    if section != "models" or not dot:
        return path.split(".")
    for model_id in sorted(models, key=len, reverse=True):
        if rest == model_id:
            return [section, model_id]
        if rest.startswith(f"{model_id}."):
            return [section, model_id, rest.removeprefix(f"{model_id}.")]
    return [section, *rest.rsplit(".", 1)]
