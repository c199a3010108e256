"""Templates as Hugging Face's libraries render them, and what becomes of those that do not behave."""

from typing import Any

import pytest

from edged.errors import InvalidRequest, ModelFileError
from edged.runner.engine import template
from edged.runner.engine.template import Template


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ tool | tojson }}", '{"b": "<é&\'>", "a": [1, null]}'),
        (
            "{{ tool | tojson(indent=1) }}",
            '{\n "b": "<é&\'>",\n "a": [\n  1,\n  null\n ]\n}',
        ),
        (
            "{{ tool | tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=true) }}",
            '{"a":[1,null],"b":"<\\u00e9&\'>"}',
        ),
        ("{% for each in [1, 2, 3] %}{% if each == 2 %}{% break %}{% endif %}{{ each }}{% endfor %}", "1"),
        ("{% for each in [1, 2] %}{% if each == 1 %}{% continue %}{% endif %}{{ each }}{% endfor %}", "2"),
        ("a{% generation %}{{ 'b' }}{% if true %}c{% endif %}{% endgeneration %}d", "abcd"),
        ("    {% if true %}\nx\n    {% endif %}\ny", "x\ny"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{{ absent }}{{ absent is defined }}", "False"),
        ("{%- set found = namespace(value=1) -%}{%- set found.value = 2 -%}{{ found.value }}", "2"),
        ("{{ ['a', 'b'] | map('upper') | join('-') }}", "A-B"),
        ("{{ messages[::-1][0] }}", "2"),
        ("{{ '\\ud800' }}", "\ud800"),
    ],
)
def test_it_renders(source: str, text: str) -> None:
    tool = {"b": "<é&'>", "a": [1, None]}
    assert Template(source).render({"tool": tool, "messages": [1, 2]}) == text


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ raise_exception('roles must\n alternate') }}", "roles must alternate"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ x.y.z }}", "undefined"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ range(10**9) | list }}", "range"),
        ("{% include 'other' %}", "loader"),
        ("{{ raise_exception(long) }}", "x{300}$"),
    ],
)
def test_what_it_does_not_take_is_told_on_one_line(source: str, problem: str) -> None:
    with pytest.raises(
        InvalidRequest, match=f"(?i)^messages: .* does not take them: .*(?:{problem})"
    ) as caught:
        Template(source).render({"messages": [], "long": "x" * 5000})
    assert caught.value.param == "messages"


def test_there_is_an_end_to_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_TEXT_BYTES", 3 << 20)
    source = "{% for each in range(1000) %}{{ text }}{% endfor %}"
    assert len(Template(source).render({"text": "x" * 3000})) == 3_000_000
    with pytest.raises(InvalidRequest, match="more than 3 MiB of text"):
        Template(source).render({"text": "x" * 4000})


def test_an_error_without_words_has_a_name() -> None:
    class Silent:
        def __str__(self) -> str:
            raise NotImplementedError

    with pytest.raises(InvalidRequest, match="NotImplementedError"):
        Template("{{ value }}").render({"value": Silent()})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for %}", "does not parse"),
        ("{{ unknown | nofilter }}", "does not parse"),
        ("{% generation %}", "does not parse"),
        ("x" * (template.MAX_SOURCE_BYTES + 1), "at most"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "cannot be used"),
    ],
)
def test_one_that_cannot_be_compiled_is_the_files_fault(source: str, problem: str) -> None:
    with pytest.raises(ModelFileError, match=problem):
        Template(source)


def test_a_value_of_any_kind_may_be_shown() -> None:
    values: list[Any] = [None, True, 1.5, 2**70, "é"]
    assert Template("{{ values }}").render({"values": values}) == str(values)
