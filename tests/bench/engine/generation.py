"""Chat: tokens per second, and the time to the first token."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from edged.gguf.header import read_header
from tests.bench.engine import workload
from tests.bench.engine.clients import Said, ask, ask_streamed, together
from tests.bench.engine.contenders import Contender, edged, llama, same_threads
from tests.bench.engine.rows import Row, Target
from tests.bench.engine.setup import Setup
from tests.bench.engine.wire import Connection
from tests.bench.models import BenchModel

_SIZES = {"n_ctx": 2048, "n_seq_max": 8}
_ANSWER_TOKENS = 48
_TURNS = 3  # requests of each client in one repetition
_TARGETS = {1: 1.05, 4: 1.10, 8: 1.20}
_PROMPT_WORDS = 165  # 200 tokens with the template's
_ATTEMPT = 10_000  # between the numbers of questions of repeated tries
_WARM_UP = 100_000  # a number of questions that nothing else asks


@contextmanager
def both(setup: Setup, model: BenchModel, *, cache: bool = True) -> Iterator[tuple[Contender, Contender]]:
    """edged and llama-server with the same model, ready and warm."""
    with ExitStack() as stack:
        mine = stack.enter_context(edged([model], _SIZES))
        plan = mine.plans[model.id]
        off = () if cache else ("--no-cache-prompt", "--cache-ram", "0")
        flags = (*same_threads(plan), *_same_template(model), *off)
        theirs = stack.enter_context(llama(setup.program, model, plan, *flags))
        for contender in (mine, theirs):
            body = workload.chat(workload.question(_WARM_UP), 8, cache=cache, model=model.id)
            together(contender.port, [[body]], ask)
        yield mine, theirs


def _same_template(model: BenchModel) -> tuple[str, ...]:
    """What makes llama-server render as edged does where the file has no template (gemma's here)."""
    return () if read_header(model.file).has_chat_template else ("--no-jinja", "--chat-template", "gemma")


def chat(setup: Setup, model: BenchModel, *, n_clients: int, cache: bool, stream: bool) -> list[Row]:
    """Tokens per second of clients that ask one question after the other."""
    rates: list[list[float]] = [[], []]
    cached: list[int] = [0, 0]
    with both(setup, model, cache=cache) as contenders:
        for repetition in range(setup.repetitions):
            for side, contender in enumerate(contenders):
                first = repetition * n_clients * _TURNS
                talk = partial(_talk, contender, model, first, n_clients, cache=cache, stream=stream)
                elapsed_s, answers = setup.turns.take(talk)
                rates[side].append(sum(said.usage.completion_tokens for said in answers) / elapsed_s)
                cached[side] = max(cached[side], *(said.usage.cached_tokens for said in answers))
    what = (
        f"chat {model.id}, {n_clients} client{'s' * (n_clients > 1)}, cache {'on' if cache else 'off'}"
        f"{', streamed' * stream}"
    )
    return [
        Row(
            what=what,
            unit="tokens/s",
            edged=tuple(rates[0]),
            peer="llama-server",
            peers=tuple(rates[1]),
            target=Target("at least", _TARGETS.get(n_clients, 1.0)),
            note=f"of a prompt, at most {cached[0]} tokens were cached by edged, {cached[1]} by the peer",
        )
    ]


def _talk(
    contender: Contender,
    model: BenchModel,
    first: int,
    n_clients: int,
    attempt: int,
    *,
    cache: bool,
    stream: bool,
) -> tuple[float, list[Said]]:
    """Clients that ask questions from number `first` on."""
    numbers = iter(range(first + attempt * _ATTEMPT, first + attempt * _ATTEMPT + n_clients * _TURNS))
    make = workload.streamed_chat if stream else workload.chat
    jobs = [
        [
            make(workload.question(next(numbers)), _ANSWER_TOKENS, cache=cache, model=model.id)
            for _ in range(_TURNS)
        ]
        for _ in range(n_clients)
    ]
    return together(contender.port, jobs, ask_streamed if stream else ask)


def first_token(setup: Setup, model: BenchModel) -> list[Row]:
    """Time to the first token of a prompt of 200 tokens, and of a conversation's second turn."""
    firsts: list[list[Said]] = [[], []]
    seconds: list[list[Said]] = [[], []]
    with both(setup, model) as contenders:
        for number in range(2 * setup.repetitions):
            for side, contender in enumerate(contenders):
                first, second = setup.turns.take(partial(_conversation, contender, model, number))
                firsts[side].append(first)
                seconds[side].append(second)
    prompt = firsts[0][0].usage.prompt_tokens
    mine, again = (_milliseconds(turn[0]) for turn in (firsts, seconds))
    theirs, theirs_again = (_milliseconds(turn[1]) for turn in (firsts, seconds))
    name, what = "llama-server", f"time to first token, {model.id}"
    cached = f"{seconds[0][0].usage.cached_tokens} of {seconds[0][0].usage.prompt_tokens}"
    return [
        Row(what=f"{what}, {prompt} tokens", unit="ms", edged=mine, peer=name, peers=theirs,
            target=Target("at most", 1.10)),
        Row(what=f"{what}, second turn", unit="ms", edged=again, peer="edged, first turn", peers=mine,
            target=Target("at most", 0.25), note=f"{cached} prompt tokens were cached"),
        Row(what=f"{what}, second turn", unit="ms", edged=again, peer=name, peers=theirs_again),
    ]  # fmt: skip


def _conversation(
    contender: Contender, model: BenchModel, repetition: int, attempt: int
) -> tuple[Said, Said]:
    number = repetition + attempt * _ATTEMPT
    messages = [{"role": "user", "content": f"{number}. {workload.words(number, _PROMPT_WORDS)}"}]
    with Connection(contender.port) as connection:
        first = ask_streamed(connection, workload.streamed_chat(messages, 32, model=model.id))
        messages += [
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "Say that again in one short sentence."},
        ]
        second = ask_streamed(connection, workload.streamed_chat(messages, 2, model=model.id))
    return first, second


def _milliseconds(answers: Sequence[Said]) -> tuple[float, ...]:
    return tuple(1000 * said.first_token_s for said in answers)
