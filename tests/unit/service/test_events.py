"""The table of events, the journal's catalog, and the code that names events, agree."""

import ast
import re
from pathlib import Path

import edged
from edged.lifecycle.record import FAILURE_EVENTS
from edged.service.events import MESSAGE_IDS

CATALOG = Path(__file__).parents[3] / "systemd" / "edged.catalog"
FIELDS = {"MODEL", "STRATEGY", "DURATION_MS", "REQUEST_ID", "STEP"}
ENTRY = re.compile(r"^-- ([0-9a-f]{32})\n((?:[A-Z][A-Za-z-]+: .+\n)+)\n((?:(?!-- ).*\n?)+)", re.MULTILINE)


def named_in_code() -> set[str]:
    """Every event that some module names."""
    found = set()
    for path in Path(edged.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Dict):
                continue
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "EVENT":
                    found |= _texts(value)
    return found | set(FAILURE_EVENTS.values()) | {"reload_done", "reload_failed"}  # named by variables


def _texts(node: ast.expr) -> set[str]:
    """A text, or either one of a conditional expression."""
    if isinstance(node, ast.IfExp):
        return _texts(node.body) | _texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_message_ids_are_distinct_and_well_formed() -> None:
    assert all(re.fullmatch("[0-9a-f]{32}", message_id) for message_id in MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)


def test_the_catalog_explains_every_event_and_no_other() -> None:
    entries = ENTRY.findall(CATALOG.read_text())
    assert [message_id for message_id, _, _ in entries] == list(MESSAGE_IDS.values())
    for _, headers, text in entries:
        assert "Subject: " in headers
        assert "Defined-By: edged\n" in headers
        assert text.strip()
        assert set(re.findall("@([A-Z_]+)@", headers + text)) <= FIELDS


def test_the_table_holds_just_the_events_that_code_names() -> None:
    assert named_in_code() == set(MESSAGE_IDS)
