"""JSON Schema as a grammar for llama.cpp: everything that it generates fulfils the schema.

A pure function of the schema, bounded in time and size. What cannot be held exactly is refused by name.
"""

import json
from typing import Any

from edged.api.json_schema.build import Build
from edged.api.json_schema.gbnf import Unfit
from edged.api.json_schema.keywords import refused
from edged.api.json_schema.normal import Normal
from edged.api.json_schema.regular import TooLarge
from edged.errors import InvalidRequest

__all__ = ["MAX_SCHEMA_CHARACTERS", "grammar_of"]

MAX_SCHEMA_CHARACTERS = 64 << 10
_COMBINING = 20_000  # steps; a tenth of a second at most
_DERIVING = 60_000


def grammar_of(schema: Any, path: str) -> str:
    """The GBNF grammar of a schema's instances; `path` is where it stands in the request.

    Raises InvalidRequest for what is no schema, Unsupported for what cannot be held.
    """
    try:
        if not isinstance(schema, dict | bool):
            raise InvalidRequest(f"{path}: is neither a schema (an object) nor true or false", path)
        n_characters = len(json.dumps(schema))
        if n_characters > MAX_SCHEMA_CHARACTERS:
            raise refused(path, f"{n_characters} characters, at most {MAX_SCHEMA_CHARACTERS} are accepted")
        build = Build(Normal(schema, path, _COMBINING), _DERIVING)
        build.rules.define("root", build.rule(schema, path))
        build.rules.check_shapes()
    except TooLarge as error:
        raise refused(path, "is too large for a grammar; simplify it, or ask for less at once") from error
    except Unfit as unfit:
        raise refused(unfit.path, str(unfit)) from unfit
    except RecursionError as error:
        raise refused(path, "is nested too deeply") from error
    return build.rules.text()
