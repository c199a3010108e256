"""Parameters of a URL: like fields of a body, they are understood or refused by name."""

from typing import TypeVar

from werkzeug.datastructures import MultiDict

from edged.api.body import convert
from edged.errors import InvalidRequest

Typed = TypeVar("Typed")


def read_query(given: MultiDict[str, str], kind: type[Typed]) -> Typed:
    """The parameters as a typed struct. Raises InvalidRequest naming one."""
    for name, values in given.lists():
        if len(values) > 1:
            raise InvalidRequest(f"{name}: is there twice", name)
    return convert(given.to_dict(), kind, strict=False)
