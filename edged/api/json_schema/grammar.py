"""The rules of one grammar, out of as many schemas as an answer may follow."""

import json
from typing import Any

from edged.api.json_schema.build import Build
from edged.api.json_schema.gbnf import Rules, Unfit
from edged.api.json_schema.keywords import refused
from edged.api.json_schema.normal import Normal
from edged.api.json_schema.regular import Language, TooLarge
from edged.api.json_schema.work import Work
from edged.errors import InvalidRequest

MAX_SCHEMA_CHARACTERS = 64 << 10
_COMBINING = 40_000  # steps; a tenth of a second at most
_DERIVING = 60_000


class Grammar:
    """Rules under way. What may be spent on them is bounded for all schemas together."""

    def __init__(self) -> None:
        self.rules = Rules()
        self._language = Language(_DERIVING)
        self._work = Work(_COMBINING)

    def rule(self, schema: Any, path: str) -> str:
        """The name of a rule for a schema's instances; `path` says where that stands in the request.

        Raises InvalidRequest for what is no schema, Unsupported for what cannot be held; writes nothing then.
        """
        before = self.rules.copy()
        try:
            return self._rule(schema, path)
        except TooLarge as error:
            self.rules = before
            raise refused(path, "is too large for a grammar; simplify it, or ask for less at once") from error
        except Unfit as unfit:
            self.rules = before
            raise refused(unfit.path, str(unfit)) from unfit
        except RecursionError as error:
            self.rules = before
            raise refused(path, "is nested too deeply") from error
        except InvalidRequest:
            self.rules = before
            raise

    def _rule(self, schema: Any, path: str) -> str:
        if not isinstance(schema, dict | bool):
            raise InvalidRequest(f"{path}: is neither a schema (an object) nor true or false", path)
        n_characters = len(json.dumps(schema))
        if n_characters > MAX_SCHEMA_CHARACTERS:
            raise refused(path, f"{n_characters} characters, at most {MAX_SCHEMA_CHARACTERS} are accepted")
        if isinstance(schema, dict):  # a name for the whole, to which no reference inside it is relative
            schema = {key: value for key, value in schema.items() if key != "$id"}
        name = Build(Normal(schema, path, self._work), self.rules, self._language, self._work).rule(
            schema, path
        )
        self.rules.check_shapes()
        return name


def grammar_of(schema: Any, path: str) -> str:
    """The GBNF grammar of a schema's instances; `path` is where it stands in the request.

    Raises InvalidRequest for what is no schema, Unsupported for what cannot be held.
    """
    grammar = Grammar()
    name = grammar.rule(schema, path)
    return grammar.rules.text(name)
