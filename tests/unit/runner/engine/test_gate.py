"""From when on a grammar holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.runner.engine.gate import Gate

THINK = ("<think>", "</think>")


def taken(gate: Gate, *pieces: str) -> tuple[str, str | None]:
    """What is taken without the grammar, and what that has to follow first; None: it never holds."""
    free = ""
    for piece in pieces:
        if not gate.lets(piece.encode(), ends=False):
            gate.hold()
            return free, ""
        begun = gate.push(piece.encode())
        free += piece
        if gate.held:
            return free, begun.decode()
    return free, None


def test_a_grammar_holds_from_the_beginning_where_it_waits_for_nothing() -> None:
    assert Gate().held
    assert not Gate().lets(b"x", ends=False)


@pytest.mark.parametrize(
    ("pieces", "followed"),
    [
        (["Hello ", "<tool_call>"], "<tool_call>"),
        (["Hello<", "tool", "_call", '>{"'], '<tool_call>{"'),
        (["a<tool_call", "<tool_call>\n"], "<tool_call>\n"),
        (["Hello", " you"], None),
        ([' {"name": ', '"f'], '{"name": "f'),
        (['\n{"', 'name": "f", "x'], '{"name": "f", "x'),
        (['See: {"name": "f'], None),
        (['{"name": "g"', ' <tool_call>{"name": "f'], '<tool_call>{"name": "f'),
    ],
)
def test_triggers(pieces: list[str], followed: str | None) -> None:
    gate = Gate(["<tool_call>", '^{"name": "f'])
    assert taken(gate, *pieces) == ("".join(pieces), followed)


def test_a_trigger_within_what_the_model_thinks_is_none() -> None:
    gate = Gate(["<tool_call>"], THINK)
    pieces = ["\n<think>", "Say <tool_call>", "?</th", "ink>", "\n", "<tool_call>"]
    assert taken(gate, *pieces) == ("".join(pieces), "<tool_call>")
    gate = Gate(["^{"], THINK, opened=True)
    pieces = ["{ ", "</think>", "\n\n", '{"a']
    assert taken(gate, *pieces) == ("".join(pieces), '{"a')


def test_without_triggers_only_reasoning_and_blanks_are_free() -> None:
    assert taken(Gate((), THINK), "\n", "<think>", "Hm", ".</think>", "\n", "\n", "{") == (
        "\n<think>Hm.</think>\n\n",
        "",
    )
    assert taken(Gate((), THINK), "<think>", 'Hm</think>{"') == ('<think>Hm</think>{"', '{"')
    assert taken(Gate((), THINK), "{") == ("", "")
    assert taken(Gate((), THINK), "<", "think>") == ("", "")
    assert taken(Gate((), THINK, opened=True), "Hm", "</think>", "{") == ("Hm</think>", "")
    assert taken(Gate((), THINK, opened=True), "<think>", "Hm", "</think>", "{") == ("<think>Hm</think>", "")


def test_an_answer_that_is_held_cannot_end_before_it_began() -> None:
    assert not Gate((), THINK).lets(b"", ends=True)
    assert Gate((), THINK, opened=True).lets(b"", ends=True)
    assert Gate(["x"]).lets(b"", ends=True)


def test_blanks_before_a_held_answer_have_an_end() -> None:
    free, followed = taken(Gate((), THINK), *[" "] * 100)
    assert len(free) < 10
    assert followed == ""


def test_what_the_grammar_does_not_know_was_no_trigger() -> None:
    gate = Gate(["<tool_call>"])
    assert taken(gate, "<tool_call>", "?") == ("<tool_call>", "<tool_call>")
    gate.wait_on()
    assert taken(gate, " no ", "<tool_call>") == (" no <tool_call>", "<tool_call>")
    gate = Gate((), THINK, opened=True)
    assert taken(gate, "</think>?") == ("</think>?", "?")
    gate.wait_on()
    assert gate.held


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<tool_call>", '{"name"', "<", "tool", " ", "a"])),
    st.booleans(),
    st.booleans(),
)
def test_cuts_change_nothing(parts: list[str], thinks: bool, opened: bool) -> None:
    """What the grammar has to follow begins at the same place, however tokens cut the text."""
    text = "".join(parts)

    def begins_at(*pieces: str) -> int | None:
        free, followed = taken(
            Gate(["<tool_call>", '^{"name"'], THINK if thinks else None, opened=opened), *pieces
        )
        return None if followed is None else len(free) - len(followed)

    assert begins_at(text) == begins_at(*text)
