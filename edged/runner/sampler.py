"""llama.cpp's samplers for one sequence, on as few candidates as decide.

A chain over a vocabulary of 262,000 tokens costs a millisecond for each token of each sequence. Where it ends
in the `top_k` likeliest (or in the one), those and the tokens that biases and penalties touch give the same
result, and numpy finds them in a tenth of that.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as llama

from edged.runner.engine.candidates import Logits, Recent, Tokens, candidates, likeliest
from edged.runner.engine.sampling import Stage, log_min_p, n_decisive
from edged.runner.grammar import Grammar, apply
from edged.runner.vocabulary import Vocabulary

_LIKELIEST = 256  # one token in so many: among these is nearly always what the model means
_MIROSTAT_M = 100  # of the first Mirostat: how many tokens it looks at; llama-server's constant


class Sampler:
    """A sampler chain, the biases before it and the grammar after it, as llama-server arranges them."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        stages: Sequence[Stage],
        biases: Mapping[int, float],
        grammar: Grammar | None,
        prompt: Sequence[int],
    ) -> None:
        self._biased_tokens = frozenset(biases)
        self._biased = np.fromiter(biases.keys(), np.intp, len(biases))
        self._biases = np.fromiter(biases.values(), np.float32, len(biases))
        self._n_decisive = n_decisive(stages)
        self._log_min_p = log_min_p(stages)
        last_n = [arguments[0] for name, arguments in stages if name == "penalties"]
        before = prompt[-last_n[0] :] if last_n else ()
        self._recent = Recent(last_n[0], before) if last_n else None
        self._only_greedy = [name for name, _ in stages] == ["greedy"]
        self._raises = any(bias > 0 for bias in biases.values())
        self._may_end = bool(biases) or grammar is not None  # only these make tokens impossible
        self._grammar = grammar
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for name, arguments in stages:
            llama.llama_sampler_chain_add(self._chain, _stage(vocabulary.size, name, arguments))
        for token in before:
            llama.llama_sampler_accept(self._chain, token)

    def choose(self, logits: Logits) -> int | None:
        """The next token; None when the grammar and the biases leave none."""
        token = self._likeliest(logits)
        if token is None:
            token = self._pick(self._few(logits))
        if self._grammar is None or (token is not None and self._grammar.lets(token)):
            if token is not None:
                self._accept(token)
            return token
        if token is None or not self._grammar.allows(token):
            token = self._grammatical(logits, self._grammar)
        if token is not None:
            self._accept(token)
            self._grammar.accept(token)
        return token

    def _likeliest(self, logits: Logits) -> int | None:
        """What a greedy chain takes, where no bias touches that; None: the chain must be asked."""
        if not self._only_greedy or self._raises:
            return None
        token = int(logits.argmax())
        return None if token in self._biased_tokens else token

    def close(self) -> None:
        """Free chain and grammar. Safe to call twice."""
        if self._chain:
            llama.llama_sampler_free(self._chain)
        self._chain = None
        if self._grammar is not None:
            self._grammar.close()

    def _few(self, logits: Logits) -> np.ndarray[Any, Any]:
        """Candidates enough to decide, with biases."""
        touched = self._touched()
        count = None if self._n_decisive is None else self._n_decisive + len(touched)
        tokens = None if count is None else likeliest(logits, count)
        if tokens is not None and len(touched):
            tokens = np.union1d(tokens, touched)
        return self._bias(candidates(logits, tokens))

    def _touched(self) -> Tokens:
        """The tokens whose logits are changed before any are left out."""
        if self._recent is None:
            return self._biased
        return np.concatenate((self._biased, np.fromiter(self._recent.tokens(), np.intp, len(self._recent))))

    def _bias(self, among: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Add the biases; `among` holds every biased token, in order of ids."""
        if len(self._biased):
            among["logit"][np.searchsorted(among["id"], self._biased)] += self._biases
        return among

    def _grammatical(self, logits: Logits, grammar: Grammar) -> int | None:
        """What the grammar allows next, which is looked up only when the chain's choice was wrong."""
        token = self._among_likeliest(logits, grammar)
        return self._pick_said(self._allowed(logits, None, grammar), grammar) if token is None else token

    def _among_likeliest(self, logits: Logits, grammar: Grammar) -> int | None:
        """The same without asking about a whole vocabulary, which takes milliseconds; None: that must be.

        Enough where the chain would leave out all other tokens: as too many, or as too unlikely (`min_p`).
        (With `min_p`, `top_p` then counts only what is left of the others.)
        """
        tokens = None if self._n_decisive is None else likeliest(logits, len(logits) // _LIKELIEST)
        if self._n_decisive is None or tokens is None:
            return None
        bound = logits[tokens].min()  # no other token reaches it
        touched = self._touched()
        possible = self._allowed(logits, np.union1d(tokens, touched), grammar)
        certain = possible["logit"][~np.isin(possible["id"], touched)]  # penalties may lower the others
        if len(certain) < self._n_decisive and not (certain + self._log_min_p >= bound).any():
            return None
        return self._pick_said(possible, grammar)

    def _allowed(self, logits: Logits, tokens: Tokens | None, grammar: Grammar) -> np.ndarray[Any, Any]:
        among = candidates(logits, tokens)
        grammar.restrict(among)
        self._bias(among)
        possible: np.ndarray[Any, Any] = among[np.isfinite(among["logit"])]
        return possible

    def _pick_said(self, possible: np.ndarray[Any, Any], grammar: Grammar) -> int | None:
        token = self._pick(possible)
        while token is not None and not grammar.is_said(token):
            possible = possible[possible["id"] != token]
            token = self._pick(possible)
        return token

    def _pick(self, among: np.ndarray[Any, Any]) -> int | None:
        """Run the chain; None where no candidate is possible: llama.cpp would take any, or abort."""
        if self._may_end and not np.isfinite(among["logit"]).any():
            return None
        array = apply(self._chain, among)
        chosen = array.data[array.selected]
        return int(chosen.id) if chosen.logit > -math.inf else None

    def _accept(self, token: int) -> None:
        if self._recent is not None:
            self._recent.add(token)
            llama.llama_sampler_accept(self._chain, token)


def _stage(n_vocab: int, name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "penalties":
        return llama.llama_sampler_init_penalties(n_vocab, *arguments)
    if name == "mirostat":
        return llama.llama_sampler_init_mirostat(n_vocab, *arguments, _MIROSTAT_M)
    if name in ("typical_p", "top_p", "min_p"):
        arguments = (*arguments, 1)  # at least one token is left
    makers = {
        "top_k": llama.llama_sampler_init_top_k,
        "typical_p": llama.llama_sampler_init_typical,
        "top_p": llama.llama_sampler_init_top_p,
        "min_p": llama.llama_sampler_init_min_p,
        "temperature": llama.llama_sampler_init_temp,
        "mirostat_v2": llama.llama_sampler_init_mirostat_v2,
        "dist": llama.llama_sampler_init_dist,
        "greedy": llama.llama_sampler_init_greedy,
    }
    return makers[name](*arguments)
