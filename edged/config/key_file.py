"""The file that `edged key` writes, as text: its comments, its order and what others wrote there stay."""

from collections.abc import Iterable

from edged.config.credentials import key_lines
from edged.config.keys import BadKey, check_name, hashed, hashed_line, parse_key
from edged.errors import ConfigError, EdgedError

_HEADING = "# API keys, one a line: NAME SCOPES HASH. `edged key` writes them; `edged reload` applies them.\n"


def with_key(text: str, name: str, scopes: Iterable[str], key: str) -> str:
    """The text with one key more. Raises EdgedError for a name that is none, or is taken."""
    try:
        check_name(name)
    except BadKey as problem:
        raise EdgedError(f"{name!r}: {problem}") from problem
    if _places(text, name):
        raise EdgedError(f"there is a key of the name {name} already; remove it first, or choose another")
    text = text or _HEADING
    newline = "" if text.endswith("\n") else "\n"
    return f"{text}{newline}{hashed_line(name, scopes, key)}\n"


def without_key(text: str, name: str) -> str:
    """The text without a key. Raises EdgedError when it has none of that name."""
    places = _places(text, name)
    if not places:
        named = [known for _, line in key_lines(text) if (known := _name_of(line))]
        raise EdgedError(f"there is no key of the name {name}; there are: {', '.join(named) or 'none'}")
    lines = text.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines) if number not in places)


def without_plain_text(text: str, source: str) -> str:
    """The keys alone, each as its hash, for the service. Raises ConfigError for what is no key."""
    lines, problems = [], []
    for number, line in key_lines(text):
        try:
            lines.append(hashed(line))
        except BadKey as problem:
            problems.append(f"{source}: line {number + 1}: {problem}")
    if problems:
        raise ConfigError(problems)
    return "".join(f"{line}\n" for line in lines)


def _places(text: str, name: str) -> list[int]:
    return [number for number, line in key_lines(text) if _name_of(line) == name]


def _name_of(line: str) -> str | None:
    try:
        return parse_key(line).name
    except BadKey:
        return None
