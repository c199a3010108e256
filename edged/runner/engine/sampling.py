"""Which samplers a request wants, in llama.cpp's order, and which grammars llama.cpp survives. Pure."""

import math
import re
import secrets
from collections.abc import Sequence
from typing import Any

from edged.errors import InvalidRequest
from edged.runner.protocol import Sampling

Stage = tuple[str, tuple[Any, ...]]

GREEDY_BELOW = 1e-6  # logits divided by less than this may overflow, and nothing but the likeliest is left
_SEEDS = 2**32 - 1
MAX_GRAMMAR_BYTES = 64 << 10
MAX_GRAMMAR_DEPTH = 64
MAX_GRAMMAR_REPEAT = 1000


def stages(sampling: Sampling) -> tuple[Stage, ...]:
    """The sampler chain as (name, arguments), in the order in which llama-server applies them.

    Temperature 0 takes the most likely token: what only reorders the rest is left out. Biases come before
    the chain and a grammar checks what comes out of it.
    """
    chain: list[Stage] = []
    greedy = sampling.temperature < GREEDY_BELOW
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if not sampling.mirostat:
        if sampling.repeat_last_n and penalties != (1.0, 0.0, 0.0):
            chain.append(("penalties", (sampling.repeat_last_n, *penalties)))
        if not greedy and sampling.top_k > 0:
            chain.append(("top_k", (sampling.top_k,)))
        if sampling.typical_p < 1:
            chain.append(("typical_p", (sampling.typical_p,)))
    if greedy:
        return (*chain, ("greedy", ()))
    temperature: Stage = ("temperature", (sampling.temperature,))
    seed = seed_of(sampling.seed)
    if sampling.mirostat:
        name = "mirostat" if sampling.mirostat == 1 else "mirostat_v2"
        return (temperature, (name, (seed, sampling.mirostat_tau, sampling.mirostat_eta)))
    if sampling.top_p < 1:
        chain.append(("top_p", (sampling.top_p,)))
    if sampling.min_p > 0:
        chain.append(("min_p", (sampling.min_p,)))
    return (*chain, temperature, ("dist", (seed,)))


def seed_of(seed: int | None) -> int:
    """The seed that llama.cpp gets. None and -1 draw one, as in llama-server.

    llama.cpp would draw one itself for 2^32 - 1, which is never returned.
    """
    return secrets.randbits(32) % _SEEDS if seed is None or seed == -1 else seed % _SEEDS


def n_decisive(chain: Sequence[Stage]) -> int | None:
    """How many of the most likely tokens can decide a chain's outcome; None: all.

    Penalties may come before: tokens that they touch are to be added.
    """
    for name, arguments in chain:
        if name == "greedy":
            return 1
        if name == "top_k":
            return int(arguments[0])
        if name != "penalties":
            return None
    return None


def log_min_p(chain: Sequence[Stage]) -> float:
    """How far below the likeliest token's logit all others are left out, whatever there is; -inf: never."""
    stages = dict(chain)
    if "min_p" not in stages or "typical_p" in stages:
        return -math.inf
    return math.log(stages["min_p"][0])


def check_grammar(grammar: str) -> None:
    """Refuse a GBNF grammar that is known to end llama.cpp's process or to cost it seconds.

    Its parser recurses per bracket and expands `{n}` repeats; neither is bounded there. What this accepts
    may still be malformed: llama.cpp then returns NULL, which the caller must check for.
    Raises InvalidRequest.
    """
    if not grammar.strip():
        raise InvalidRequest("grammar: is empty; give GBNF rules with a `root`, or leave it out", "grammar")
    size_bytes = len(grammar.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(f"grammar: {size_bytes} bytes, at most {MAX_GRAMMAR_BYTES}", "grammar")
    if "\0" in grammar:
        raise InvalidRequest("grammar: contains a NUL character", "grammar")
    bare = _without_literals(grammar)
    depth = deepest = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_GRAMMAR_DEPTH:
        raise InvalidRequest(
            f"grammar: brackets nest {deepest} deep, at most {MAX_GRAMMAR_DEPTH} are accepted", "grammar"
        )
    for number in re.findall(r"\d+", " ".join(re.findall(r"\{[^{}]*\}", bare))):
        if len(number) > 6 or int(number) > MAX_GRAMMAR_REPEAT:
            raise InvalidRequest(
                f"grammar: repeats {number[:12]} times, at most {MAX_GRAMMAR_REPEAT} are accepted", "grammar"
            )


def _without_literals(grammar: str) -> str:
    """The grammar without its string literals, character classes and comments, whose brackets do not nest."""
    return re.sub(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', "", grammar)
