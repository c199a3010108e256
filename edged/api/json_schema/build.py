"""A schema's grammar: objects, arrays, strings and numbers as rules.

Texts are compact, with at most one space after a comma or colon: a small model would fill pages with blanks.
Properties come in the order in which they are declared, so that each text is one way through the rules.
"""

import json
from collections.abc import Sequence
from typing import Any

from edged.api.json_schema.gbnf import EMPTY, Rules, Shape, literal
from edged.api.json_schema.keywords import refused, step
from edged.api.json_schema.names import Names
from edged.api.json_schema.normal import Alternative, Normal
from edged.api.json_schema.regular import Expression, Language
from edged.api.json_schema.scalars import ANY_DEPTH, Scalars, counts
from edged.api.json_schema.work import Work

MAX_PROPERTIES = 200


class Build:
    """One schema's rules, written beside those of others."""

    def __init__(self, normal: Normal, rules: Rules, language: Language, work: Work) -> None:
        self._normal = normal
        self._language = language
        self._work = work
        self.rules = rules
        self._scalars = Scalars(rules, language)
        self._own: dict[str, str] = {}

    def rule(self, schema: Any, path: str) -> str:
        """The name of a rule for a schema's instances. Raises InvalidRequest, TooLarge."""
        return self._union(self._normal.alternatives(schema, path), path)

    def _union(self, alternatives: list[Alternative], path: str) -> str:
        if not alternatives:
            raise refused(path, "nothing fulfils this")
        values = {key: value for each in alternatives for key, value in each.get("enum", {}).items()}
        typed = [each for each in alternatives if "enum" not in each]
        if any(each["type"] == "any" for each in typed):
            return self._scalars.anything(ANY_DEPTH, path)
        parts = [*typed, {"enum": values}] if values else typed
        if len(parts) == 1:
            return self._alternative(parts[0], path)
        names = [self._alternative(part, path) for part in parts]
        by_start: dict[str, list[str]] = {}
        for part, name in zip(parts, names, strict=True):
            by_start.setdefault(part.get("type", "enum").replace("integer", "number"), []).append(name)
        objects = [part for part in typed if part["type"] == "object"]
        if self._told_apart(objects):
            by_start.pop("object", None)
        scalars = [name for kind in ("string", "number", "enum") for name in by_start.pop(kind, ())]
        alike = [list(group) for group in (*by_start.values(), scalars) if len(set(group)) > 1]
        shape = Shape(path, len(names), parts=set(names), at_once=alike, one_of=set(names))
        return self.rules.shape(self.rules.add(" | ".join(dict.fromkeys(names))), shape)

    def _told_apart(self, objects: list[Alternative]) -> bool:
        """Whether the first property of each says which it is, before another schema's rules begin."""
        firsts = [next(iter(each.get("properties", {})), None) for each in objects]
        if any(
            first is None or first not in each.get("required", ())
            for first, each in zip(firsts, objects, strict=True)
        ):
            return False
        for first in set(firsts):
            same = [each for each, name in zip(objects, firsts, strict=True) if name == first]
            values = [self._normal.constants(each, str(first)) for each in same]
            n_apart = len(set().union(*values))
            if len(same) > 1 and not (all(values) and n_apart == sum(map(len, values))):
                return False
        return True

    def _alternative(self, alternative: Alternative, path: str) -> str:
        """A rule, the same for equal alternatives: that is what ends recursion."""
        key = json.dumps(alternative)
        self._work.compare(key)
        known = self._own if '"$ref"' in key else self.rules.known  # references differ between documents
        if key not in known:
            kind = alternative.get("type", "enum")
            if kind in ("object", "array"):
                known[key] = self.rules.reserve()
                make = self._object if kind == "object" else self._array
                make(known[key], alternative, path)
            else:
                makers = {"string": self._scalars.string, "enum": self._scalars.enum}
                known[key] = makers.get(kind, self._scalars.simple)(alternative, path)
        return known[key]

    def _array(self, name: str, array: Alternative, path: str) -> None:
        least, most = counts(array, "minItems", "maxItems", path)
        first = array.get("prefixItems", ())[:most]
        names = [self.rule(each, f"{path}.prefixItems[{at}]") for at, each in enumerate(first)]
        rest = array.get("items", not first or least > len(first))
        has_rest = most is None or most > len(first)
        if has_rest and not self._normal.alternatives(rest, f"{path}.items"):
            has_rest = False
            if least > len(first):
                raise refused(f"{path}.items", "nothing fulfils this, but minItems needs it")
        needs = set(names)
        self._scalars.shared("string", path)
        parts = ['"[" ' + ' "," sp '.join(names)]
        if has_rest:
            item = self.rule(rest, f"{path}.items")
            pair = self.rules.add(f'"," sp {item}')
            names.append(item)
            if least > len(first):
                needs.add(item)
            fewest, room = max(0, least - len(first)), None if most is None else most - len(first)
            if first:
                parts.append(self.rules.repeat(pair, fewest, room))
            else:
                more = self.rules.repeat(pair, max(0, fewest - 1), None if room is None else room - 1)
                whole = self.rules.add(f"{item} {more}")
                parts.append(whole if fewest else f"{whole}?")
        parts.append('"]"')
        self.rules.define(name, " ".join(parts))
        self.rules.shape(name, Shape(path, 3, parts=set(names), needs=needs))

    def _object(self, name: str, wanted: Alternative, path: str) -> None:
        if not wanted.keys() - {"type"}:
            inner = self._scalars.any_object(ANY_DEPTH, path)
            self.rules.define(name, inner)
            self.rules.shape(name, Shape(path, parts={inner}))
            return
        names = Names(self._normal, self._language, self._scalars, wanted, path)
        members: list[tuple[str, str, bool]] = []
        for key, schema in names.listed.items():
            at = f"{path}.properties"
            optional = key not in wanted.get("required", ())
            if optional and not self._normal.alternatives(schema, step(at, key)):
                continue
            members.append((json.dumps(key, ensure_ascii=False), self.rule(schema, step(at, key)), optional))
        if len(members) > MAX_PROPERTIES:
            raise refused(path, f"{len(members)} properties, at most {MAX_PROPERTIES} are accepted")
        self._scalars.shared("string", path)
        others = [self._other(keys, schema, path) for keys, schema in names.others()]
        self._check_count(wanted, members, bool(others), path)
        other = " | ".join(rule for rule, _ in others)
        body = self._members(members, self.rules.add(other) if others else None, wanted.get("maxProperties"))
        may_be_empty = all(optional for *_, optional in members) and not wanted.get("minProperties")
        body = f'"{{" {body + ("?" if may_be_empty else "") if body else ""} "}}"'
        self.rules.define(name, body)
        values = [value for _, value, _ in members] + [value for _, value in others]
        needs = {value for _, value, optional in members if not optional}
        self.rules.shape(
            name, Shape(path, len(members) + 2 * len(others) + 3, parts=set(values), needs=needs)
        )

    def _members(
        self, members: Sequence[tuple[str, str, bool]], other: str | None, most: int | None
    ) -> str | None:
        """The rule for a list of at least one member; None: there is none to list.

        Rule `list` begins with a member, `more` with a comma; both are made from the last member backwards.
        `other`: of members that are not listed, `most` of them where there are no listed ones.
        """
        following = other  # the rule of a list from the next member on
        must = False  # whether one of those is required
        if other is not None:
            pair = self.rules.add(f'"," sp {other}')
            times = self.rules.repeat(pair, 0, None if most is None else most - 1)
            following = self.rules.add(f"{other} {times}".strip())
        for key, value, optional in reversed(members):
            this = f"{literal(key + ':')} sp {value}"
            if following is not None:
                more = self.rules.add(f'"," sp {following}' + ("" if must else f" | {EMPTY}"))
                this = f"{this} {more}"
            if optional and following is not None:
                this = f"{this} | {following}"
            following = self.rules.add(this)
            must = must or not optional
        return following

    def _other(self, keys: Expression, schema: Any, path: str) -> tuple[str, str]:
        """A member that is not listed, and its value."""
        at = f"{path}.additionalProperties"
        key = self._scalars.automaton(keys, at, quoted=True)
        value = self.rule(schema, at)
        return self.rules.add(f'{key} ":" sp {value}'), value

    def _check_count(
        self, wanted: Alternative, members: Sequence[tuple[str, str, bool]], has_more: bool, path: str
    ) -> None:
        n_required = sum(not optional for *_, optional in members)
        least = wanted.get("minProperties", 0)
        if least > max(1, n_required) or (least and not members and not has_more):
            raise refused(f"{path}.minProperties", "more than are required cannot be counted")
        most = wanted.get("maxProperties")
        if most is not None and (most < 1 or (members if has_more else most < len(members))):
            raise refused(f"{path}.maxProperties", "fewer than there may be cannot be counted")
