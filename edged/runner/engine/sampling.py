"""Which samplers a request wants, in llama.cpp's order, and which grammars llama.cpp survives. Pure."""

import re
import secrets
from typing import Any

from edged.errors import InvalidRequest
from edged.runner.protocol import Sampling

Stage = tuple[str, tuple[Any, ...]]

MAX_GRAMMAR_BYTES = 64 << 10
MAX_GRAMMAR_DEPTH = 64
MAX_GRAMMAR_REPEAT = 1000


def stages(sampling: Sampling) -> tuple[Stage, ...]:
    """The sampler chain as (name, arguments), in the order in which llama-server applies them.

    Temperature 0 takes the most likely token: what only reorders the rest is left out.
    """
    chain: list[Stage] = []
    if sampling.logit_bias:
        chain.append(("logit_bias", (sampling.logit_bias,)))
    if sampling.ignore_eos:
        chain.append(("ignore_eos", ()))
    if sampling.grammar is not None:
        chain.append(("grammar", (sampling.grammar,)))
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if sampling.repeat_last_n and penalties != (1.0, 0.0, 0.0):
        chain.append(("penalties", (sampling.repeat_last_n, *penalties)))
    if sampling.temperature <= 0:
        return (*chain, ("greedy", ()))
    if sampling.top_k > 0:
        chain.append(("top_k", (sampling.top_k,)))
    if sampling.typical_p < 1:
        chain.append(("typical_p", (sampling.typical_p,)))
    if sampling.top_p < 1:
        chain.append(("top_p", (sampling.top_p,)))
    if sampling.min_p > 0:
        chain.append(("min_p", (sampling.min_p,)))
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & 0xFFFFFFFF
    return (*chain, ("temperature", (sampling.temperature,)), ("dist", (seed,)))


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
