"""From the tree of what was written to the schema's structs, collecting every problem on the way."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from edged.config import tree, units
from edged.config.schema import Bytes, Config, Seconds
from edged.config.shape import Field, Shape, fields_of

_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
_INVALID = object()
SET = "--set"  # the source of values from the command line


class Reading:
    """One pass over a tree: the problems found, and which paths were written and well-formed."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.written: dict[str, str] = {}  # path to source
        self._broken: set[str] = set()

    def config(self, root: tree.Node | None, source: str) -> Config:
        """The configuration; fields with problems keep their defaults, so that the rest is checked too."""
        value = self._value(root or tree.nothing(source), Shape(base=Config), "")
        return value if isinstance(value, Config) else Config()

    def report(self, source: str, path: str, reason: str) -> None:
        """Note a problem as `source: path: reason`."""
        where = f"{SET} {path}" if source == SET else f"{source}: {path}" if path else source
        self.problems.append(f"{where}: {reason}")
        self._broken.add(path)

    def is_broken(self, path: str) -> bool:
        """Whether a path, something in it, or the section around it has a problem already."""
        return any(
            broken == path or broken.startswith((f"{path}.", f"{path}[")) or path.startswith(f"{broken}.")
            for broken in self._broken
        )

    def _value(self, node: tree.Node, shape: Shape, path: str) -> Any:
        if shape.is_struct:
            return self._struct(node, shape, path)
        if shape.base is dict:
            return self._dict(node, shape, path)
        if shape.base is tuple:
            return self._tuple(node, shape, path)
        value = _scalar(node, shape)
        if value is _INVALID:
            got = tree.kind_of(node) if shape.secret else tree.shown(node)
            self.report(node.source, path, f"expected {expected(shape)}, got {got}{_hint(node, shape)}")
        else:
            self.written[path] = node.source
        return value

    def _struct(self, node: tree.Node, shape: Shape, path: str) -> Any:
        items = self.items(node, path)
        if items is None:
            return _INVALID
        fields = fields_of(shape.base)
        values = {}
        for key, child in items.items():
            if key not in fields:
                self.report(child.source, tree.join(path, key), _unknown(key, fields))
                continue
            value = self._value(child, fields[key].shape, tree.join(path, key))
            if value is not _INVALID:
                values[key] = value
        for field in fields.values():
            if field.required and field.name not in items:
                self.report(node.source, tree.join(path, field.name), "is required and missing")
            if field.required and field.name not in values:
                values[field.name] = "?"  # a stand-in, so that the rest can still be checked; never returned
        return shape.base(**values)

    def _dict(self, node: tree.Node, shape: Shape, path: str) -> Any:
        items = self.items(node, path)
        if items is None or shape.key is None or shape.item is None:
            return _INVALID
        values = {}
        for key, child in items.items():
            if not re.fullmatch(shape.key.pattern or "", key):
                self.report(
                    child.source,
                    tree.join(path, key),
                    "a name has lower-case letters, digits, dots, dashes and underscores, "
                    "and starts with a letter or digit",
                )
                continue
            value = self._value(child, shape.item, tree.join(path, key))
            if value is not _INVALID:
                values[key] = value
        return values

    def _tuple(self, node: tree.Node, shape: Shape, path: str) -> Any:
        assert shape.item is not None
        if tree.is_nothing(node):
            return ()
        if not isinstance(node, tree.Listing):
            self.report(node.source, path, f"expected a list, got {tree.kind_of(node)}")
            return _INVALID
        self.written[path] = node.source
        item = msgspec.structs.replace(shape.item, secret=shape.secret)
        values = [self._value(child, item, f"{path}[{index}]") for index, child in enumerate(node.items)]
        return tuple(value for value in values if value is not _INVALID)

    def items(self, node: tree.Node, path: str) -> dict[str, tree.Node] | None:
        """A section's keys; a section with nothing in it (all commented out) is empty, not wrong."""
        if tree.is_nothing(node):
            return {}
        if isinstance(node, tree.Mapping):
            return node.items
        self.report(node.source, path, f"expected a mapping of keys to values, got {tree.kind_of(node)}")
        return None


def expected(shape: Shape) -> str:
    """What a field takes, in words."""
    if shape.base is None:
        return f"one of {', '.join(shape.words)}"
    if shape.base is bool:
        return "true or false"
    if shape.base is str:
        return f"text of at least {shape.min_length} characters" if (shape.min_length or 0) > 1 else "text"
    if shape.base is Bytes:
        return f"a size such as 512MiB{_limits(shape, units.format_bytes)}"
    if shape.base is Seconds:
        return f"a duration such as 500ms, 10s, 5m or 1h{_limits(shape, units.format_seconds)}"
    if shape.ge == 1 and shape.le is None:
        return "a positive integer"
    return f"an integer{_limits(shape, lambda limit: str(int(limit)))}"


def _limits(shape: Shape, show: Any) -> str:
    if shape.ge is None and shape.le is None:
        return ""
    if shape.le is None or shape.le >= 1 << 50:
        return f" of at least {show(shape.ge)}" if shape.ge else ""
    return f" from {show(shape.ge or 0)} to {show(shape.le)}"


def _scalar(node: tree.Node, shape: Shape) -> Any:
    if not isinstance(node, tree.Scalar) or node.is_null:
        return _INVALID
    if node.text in shape.words:
        return node.text
    value = _converted(node, shape.base)
    if value is _INVALID:
        return _INVALID
    if isinstance(value, str):
        fits = len(value) >= (shape.min_length or 0)
    else:
        fits = (shape.ge is None or value >= shape.ge) and (shape.le is None or value <= shape.le)
    return value if fits else _INVALID


def _converted(node: tree.Scalar, base: Any) -> Any:
    if base is str:
        return node.text if node.is_text and node.text.isprintable() else _INVALID
    if base is Bytes:
        size_bytes = units.parse_bytes(node.text)
        return _INVALID if size_bytes is None else Bytes(size_bytes)
    if base is Seconds:
        duration_s = units.parse_seconds(node.text)
        return _INVALID if duration_s is None else Seconds(duration_s)
    if base is int and not node.is_text and re.fullmatch(units.WHOLE_NUMBER_PATTERN, node.text):
        return int(node.text)
    if base is bool and not node.is_text and node.text.lower() in _TRUE + _FALSE:
        return node.text.lower() in _TRUE
    return _INVALID


def _hint(node: tree.Node, shape: Shape) -> str:
    if not isinstance(node, tree.Scalar) or node.is_null:
        return ""
    if shape.base is str and not node.is_text:
        return " (put it in quotes)"
    if shape.base in (int, bool) and node.is_text and _scalar_unquoted(node, shape):
        return " (leave the quotes out)"
    if shape.base is Seconds and re.fullmatch(units.WHOLE_NUMBER_PATTERN, node.text):
        return f" (a unit is missing: {node.text}s?)"
    if shape.base is not None and shape.words:
        return f" (or write {' or '.join(shape.words)})"
    return _did_you_mean(node.text, shape.words)


def _scalar_unquoted(node: tree.Scalar, shape: Shape) -> bool:
    plain = msgspec.structs.replace(node, is_text=False)
    return _scalar(plain, shape) is not _INVALID


def _unknown(key: str, fields: dict[str, Field]) -> str:
    return f"unknown key{_did_you_mean(key, fields)}; known: {', '.join(fields)}"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
