"""Chat templates that do harm, in real processes: an error each time, and the next is rendered."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edged.errors import InvalidRequest, ModelFileError
from edged.runner import renderer
from edged.runner.engine.conversation import Traits
from edged.runner.renderer import Renderer, RendererEnded

_DETERRENT_S = 15.0  # far above what one conversation may compute, on machines that have other things to do
# harmless to the conversations that traits are found out by
_ON_DEMAND = (
    "{{% for message in messages %}}{{{{ message.content }}}}{{% endfor %}}{{% if attack %}}{}{{% endif %}}"
)

_ATTACKS = {
    "endless loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "long texts": "{{ 'x' * (10 ** 10 + n) }}",
    "long lists": "{{ ([1] * (10 ** 10 + n)) | length }}",
    "texts that double": (
        "{% set ns = namespace(t='x') %}{% for a in range(99) %}{% set ns.t = ns.t + ns.t %}{% endfor %}"
    ),
    "lists that grow": (
        "{% set ns = namespace(t=[1]) %}{% for a in range(99) %}{% set ns.t = ns.t + ns.t %}{% endfor %}"
    ),
    "wide fields": "{{ '%*d' % (10 ** 9 + n, 1) }}",
    "wide formats": "{{ '{:>{w}}'.format('x', w=10 ** 10 + n) }}",
    "wide centres": "{{ 'x' | center(10 ** 10 + n) }}",
    "deep indents": "{{ ('x\\n' * 100) | indent(10 ** 9 + n) }}",
    "large numbers": "{{ (9 + n) ** (9 ** 9) }}",
    "much output": "{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}",
    "deep recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep lists": (
        "{% set ns = namespace(t=[]) %}{% for a in range(99999) %}{% set ns.t = [ns.t] %}{% endfor %}"
        "{{ ns.t | tojson }}"
    ),
    "large batches": "{{ messages | batch(10 ** 9 + n, 'x') | list }}",
    "replacements": "{{ ('x' * 10 ** 6).replace('x', 'y' * 10 ** 6) }}",
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.fixture
def start() -> Iterator[Any]:
    """Makes renderers of templates."""
    started: list[Renderer] = []

    def begin(source: str) -> Renderer:
        started.append(Renderer.fork())
        started[-1].prepare(source)
        return started[-1]

    yield begin
    for each in started:
        each.close()


def _variables(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], "tools": None, "n": 0, **more}


def test_it_renders_what_it_is_given(start: Any) -> None:
    chat = start("{% for message in messages %}{{ message.content }}{% endfor %}{{ n }}")
    assert chat.traits() == Traits()
    assert chat.render(_variables(n=2**70)) == f"hi{2**70}"
    long = "é" * (1 << 20)
    assert chat.render({"messages": [{"role": "user", "content": long}]}) == long


@pytest.mark.parametrize("attack", _ATTACKS.values(), ids=_ATTACKS.keys())
def test_what_does_harm_ends_in_an_error_and_the_next_is_rendered(
    start: Any, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "COMPUTE_S", 0.3)
    chat = start(_ON_DEMAND.format(attack))
    assert chat.traits() == Traits()
    began_s = time.monotonic()
    with pytest.raises(InvalidRequest, match=r"the model's chat template does not take them: ."):
        chat.render(_variables(attack=True))
    assert time.monotonic() - began_s < _DETERRENT_S
    assert chat.render(_variables()) == "hi"


def _rendering(chat: Renderer) -> int:
    """The process that has rendered last, and renders on."""
    [child] = psutil.Process(chat._pid).children()
    return child.pid


def test_one_process_renders_until_it_is_ended(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "COMPUTE_S", 0.5)
    chat = start(_ON_DEMAND.format(_ATTACKS["endless loops"]))
    chat.traits()
    assert chat.render(_variables()) == "hi"
    first = _rendering(chat)
    assert chat.render(_variables()) == "hi"
    assert _rendering(chat) == first
    with pytest.raises(InvalidRequest, match="took more than"):
        chat.render(_variables(attack=True))
    assert chat.render(_variables()) == "hi"
    assert _rendering(chat) != first


def test_a_process_that_has_grown_is_replaced(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "_WORN_BYTES", -(1 << 50))  # so that the first conversation is too much
    chat = start(_ON_DEMAND.format(""))
    chat.traits()
    for _ in range(3):
        assert chat.render(_variables()) == "hi"
        assert chat._line is None


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ 9 ** (9 ** 9) }}",  # jinja2 computes constants when it compiles
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_cannot_be_used_is_the_files_fault(
    start: Any, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "_PREPARE_COMPUTE_S", 0.5)
    chat = start(source)
    with pytest.raises(ModelFileError, match="chat template"):
        chat.traits()
    with pytest.raises(RendererEnded):
        chat.render(_variables())


def test_an_answer_is_waited_for_only_so_long(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "COMPUTE_S", 1.0)
    chat = start(_ON_DEMAND.format(_ATTACKS["endless loops"]))
    chat.traits()
    with monkeypatch.context() as soon:
        soon.setattr(renderer, "_WAIT_S", 0.05)
        with pytest.raises(InvalidRequest, match="does not take them"):
            chat.render(_variables(attack=True))
    assert chat.render(_variables()) == "hi"


def test_its_processes_hold_nothing_of_the_runner_and_end_with_it(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from edged.runner.renderer import Renderer\n"
        "kept = os.open(sys.argv[1], os.O_RDWR)\n"
        "renderer = Renderer.fork()\n"
        "renderer.prepare('x')\n"
        "renderer.traits()\n"
        "print(renderer.render({}), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(fifo)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"x\n"
        reader = os.open(fifo, os.O_RDONLY)
        runner.kill()
        assert os.read(reader, 1) == b"", "only the runner held it open for writing"
        os.close(reader)
        assert runner.stdout.read() == b"", "its processes have ended, which held the same line"
