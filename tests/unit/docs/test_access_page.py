"""docs/access.md names settings, scopes and commands that there are."""

import re
from pathlib import Path

from edged.api.auth import scopes_of
from edged.cli.key import command
from edged.config.keys import SCOPES
from edged.config.schema import Config
from edged.config.shape import fields_of

_PAGE = (Path(__file__).resolve().parents[3] / "docs/access.md").read_text()


def test_its_settings_are_in_the_schema() -> None:
    sections = {name: field.shape.base for name, field in fields_of(Config).items()}
    named = set(re.findall(r"`(access|server)\.([a-z_]+)", _PAGE))
    assert len(named) > 8
    for section, key in named:
        assert key in fields_of(sections[section]), f"{section}.{key}"
    assert {key for section, key in named if section == "access"} == set(fields_of(sections["access"]))


def test_its_scopes_are_those_of_keys() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", _PAGE, re.MULTILINE)) == SCOPES
    without_key = re.search(r"^((?:`/[a-z.]+`,? ?(?:and )?)+) need no key", _PAGE, re.MULTILINE)
    assert without_key is not None
    for path in re.findall(r"`([^`]+)`", without_key[1]):
        assert scopes_of("GET", path) == (), path


def test_its_commands_are_there() -> None:
    verbs = set(re.findall(r"edged key (\w+)", _PAGE))
    assert verbs == set(command.commands)
