"""The names that an object's properties may have: those that are listed, and all others by patterns."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from edged.api.json_schema.keywords import refused, step
from edged.api.json_schema.normal import Alternative, Normal, all_of
from edged.api.json_schema.regular import CHARACTERS, Expression, Language
from edged.api.json_schema.scalars import Scalars

_MAX_PATTERNS = 3  # every set of them has a rule of its own
# Of names that are not listed: no escapes, which could spell a listed one.
_PLAIN = [(low, high) for low, high in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), *CHARACTERS[3:])]


class _Pattern(NamedTuple):
    """The names in which a pattern is found, by every engine or by any, and what their values are."""

    surely: Expression
    perhaps: Expression
    schema: Any


class Names:
    """One object's. Raises InvalidRequest."""

    def __init__(
        self, normal: Normal, language: Language, scalars: Scalars, wanted: Alternative, path: str
    ) -> None:
        self._normal = normal
        self._language = language
        self._scalars = scalars
        self._path = path
        self._allowed = self._of_names(wanted["propertyNames"]) if "propertyNames" in wanted else None
        self._patterns = self._of_patterns(wanted.get("patternProperties", {}))
        listed = wanted.get("properties", {})
        unlisted = [name for name in wanted.get("required", ()) if name not in listed]
        closed = bool(listed or unlisted or self._patterns)
        self._extra = wanted.get("additionalProperties", not closed)
        beyond = wanted.get("additionalProperties", True)
        self.listed = {
            **{name: self._schema_of(name, [schema], True) for name, schema in listed.items()},
            **{name: self._schema_of(name, [], beyond) for name in unlisted},
        }

    def others(self) -> Iterator[tuple[Expression, Any]]:
        """Names that are not listed, by the schemas of their values; each name is in one of them."""
        listed = self._language.either([self._language.text(name) for name in self.listed])
        free = [self._language.repeat(self._language.characters(_PLAIN), 0, None)]
        free += [self._language.other_than(listed)] if self.listed else []
        free += [] if self._allowed is None else [self._allowed]
        for count in range(len(self._patterns) + 1):
            for among in combinations(self._patterns, count):
                schema = all_of([each.schema for each in among]) if among else self._extra
                found = [each.surely for each in among]
                missing = [self._language.other_than(p.perhaps) for p in self._patterns if p not in among]
                keys = self._language.both([*free, *found, *missing])
                if self._normal.alternatives(schema, self._path) and self._language.automaton(keys):
                    yield keys, schema

    def _schema_of(self, name: str, own: list[Any], beyond: Any) -> Any:
        """What a property of that name is; `beyond` where nothing else says it."""
        if self._allowed is not None and not self._fits(name, self._allowed):
            return False
        found = own + [each.schema for each in self._patterns if self._fits(name, each.perhaps)]
        return all_of(found) if found else beyond

    def _fits(self, name: str, names: Expression) -> bool:
        both = self._language.both([self._language.text(name), names])
        return self._language.automaton(both) is not None

    def _of_patterns(self, patterns: dict[str, Any]) -> list[_Pattern]:
        at = f"{self._path}.patternProperties"
        if len(patterns) > _MAX_PATTERNS:
            raise refused(at, f"{len(patterns)} patterns, at most {_MAX_PATTERNS} are accepted")
        return [
            _Pattern(
                self._scalars.expression({"pattern": pattern}, step(at, pattern)),
                self._scalars.expression({"pattern": pattern}, step(at, pattern), wide=True),
                schema,
            )
            for pattern, schema in patterns.items()
        ]

    def _of_names(self, schema: Any) -> Expression:
        """The texts that fulfil a schema."""
        at = f"{self._path}.propertyNames"
        ways = []
        for each in self._normal.alternatives(schema, at):
            if "enum" in each:
                texts = [value for value in each["enum"].values() if isinstance(value, str)]
                ways += [self._language.text(text) for text in texts]
            elif each["type"] in ("string", "any"):
                ways.append(self._scalars.expression(each, at))
        return self._language.either(ways)
