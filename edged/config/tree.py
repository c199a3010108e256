"""YAML text as a tree of plain nodes that remember what was written and where it came from.

The tree keeps the text of every scalar, so that its meaning is decided by the type the schema expects, not by
YAML 1.1's guesses (`no` is false, `1:30` is ninety, `010` is eight). It is built from parser events without
recursion and with limits, so that no file can exhaust memory or the stack.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

MAX_TEXT_BYTES = 1 << 20
MAX_DEPTH = 12
_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_PLAIN_TAGS = ("str", "null", "bool", "int", "float", "timestamp", "merge", "value")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Scalar(msgspec.Struct):
    """One value as written. `is_text` is what a YAML reader would take for a string."""

    source: str
    text: str
    is_text: bool
    is_null: bool


class Listing(msgspec.Struct):
    """A YAML sequence."""

    source: str
    items: list["Node"]


class Mapping(msgspec.Struct):
    """A YAML mapping with text keys."""

    source: str
    items: dict[str, "Node"]


Node = Scalar | Listing | Mapping


class SyntaxProblem(Exception):
    """The text is no YAML that edged reads; the message says where and why."""


def parse(text: str, source: str) -> tuple[Node | None, list[str]]:
    """The one document in a text (None when it is empty) and the paths of duplicate keys.

    Raises SyntaxProblem for anything that is not plain YAML: no aliases, no tags, one document, text keys.
    """
    try:
        return _Builder(source).build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not valid YAML"
        raise SyntaxProblem(f"{_at(mark)}{_one_line(problem)}") from error
    except yaml.YAMLError as error:
        raise SyntaxProblem(" ".join(str(error).split())) from error


def nothing(source: str) -> Scalar:
    """What stands where nothing was written."""
    return Scalar(source=source, text="", is_text=False, is_null=True)


def is_nothing(node: Node) -> bool:
    """Whether a node is empty or an explicit null."""
    return isinstance(node, Scalar) and node.is_null


def shown(node: Node | None) -> str:
    """What was written, for an error message: short, on one line, quoted when it is text."""
    if isinstance(node, Scalar):
        if node.is_null:
            return "nothing"
        text = _short(node.text)
        return json.dumps(text, ensure_ascii=not text.isprintable()) if node.is_text else _one_line(text)
    return kind_of(node)


def kind_of(node: Node | None) -> str:
    """The kind of a node without its content, for secrets."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Listing):
        return "a list"
    if node is None or node.is_null:
        return "nothing"
    return f"{len(node.text)} characters" if node.is_text else "a number or other plain value"


class _Open(msgspec.Struct):
    """A collection that is being filled; `key` is the mapping key whose value comes next."""

    node: Listing | Mapping
    path: str
    key: str | None = None


class _Builder:
    """Builds the tree from parser events."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: list[_Open] = []
        self._root: Node | None = None
        self._duplicates: list[str] = []

    def build(self, text: str) -> tuple[Node | None, list[str]]:
        loader = _Loader(text)
        try:
            documents = 0
            for event in _events(loader):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise SyntaxProblem(f"{_at(event.start_mark)}a second document (---) starts here")
                self._take(event, loader)
        finally:
            loader.dispose()
        return self._root, self._duplicates

    def _take(self, event: yaml.Event, loader: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise SyntaxProblem(f"{_at(event.start_mark)}aliases (*{event.anchor}) are not supported")
        if isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event, loader)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag not in (None, "!"):
                raise SyntaxProblem(f"{_at(event.start_mark)}tags ({_one_line(event.tag)}) are not supported")
            self._take_collection(event)

    def _take_scalar(self, event: yaml.ScalarEvent, loader: Any) -> None:
        tag = event.tag
        if tag in (None, "!"):
            tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if str(tag).removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
            raise SyntaxProblem(f"{_at(event.start_mark)}tags ({_one_line(str(tag))}) are not supported")
        if self._expects_key():
            self._take_key(event.value)
        else:
            self._put(
                Scalar(source=self._source, text=event.value, is_text=tag == _STR, is_null=tag == _NULL)
            )

    def _take_collection(self, event: yaml.CollectionStartEvent) -> None:
        if self._expects_key():
            raise SyntaxProblem(f"{_at(event.start_mark)}a key must be plain text")
        if len(self._open) >= MAX_DEPTH:
            raise SyntaxProblem(f"{_at(event.start_mark)}nested more than {MAX_DEPTH} levels deep")
        node: Listing | Mapping = (
            Mapping(self._source, {})
            if isinstance(event, yaml.MappingStartEvent)
            else Listing(self._source, [])
        )
        path = self._path()
        self._put(node)
        self._open.append(_Open(node, path))

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node, Mapping) and self._open[-1].key is None

    def _take_key(self, key: str) -> None:
        top = self._open[-1]
        top.key = key
        if isinstance(top.node, Mapping) and key in top.node.items:
            self._duplicates.append(self._path())

    def _path(self) -> str:
        if not self._open:
            return ""
        top = self._open[-1]
        if isinstance(top.node, Listing):
            return f"{top.path}[{len(top.node.items)}]"
        return join(top.path, top.key or "")

    def _put(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        if isinstance(top.node, Listing):
            top.node.items.append(node)
        elif top.key is not None:
            top.node.items.setdefault(top.key, node)
            top.key = None


def join(path: str, key: str) -> str:
    """A dotted path; an unprintable or overlong key is shortened."""
    shown_key = _one_line(_short(key))
    return f"{path}.{shown_key}" if path else shown_key


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)


def _events(loader: Any) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()


def _at(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
