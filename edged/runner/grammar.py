"""A grammar of llama.cpp's, from when on it holds, and never in a way that ends the process."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as llama

from edged.errors import InvalidRequest
from edged.runner.engine.candidates import CANDIDATE
from edged.runner.engine.gate import Gate
from edged.runner.vocabulary import Vocabulary

Candidates = np.ndarray[Any, Any]

_STDERR = threading.Lock()  # it is the whole process's: of two who turn it away, one would give back nothing


class Grammar:
    """What one answer must follow, once its gate says so.

    llama.cpp ends the process for a token that its grammar does not know: each is asked for before.
    """

    def __init__(self, vocabulary: Vocabulary, text: str, gate: Gate, *, control_pieces: bool) -> None:
        """Raises InvalidRequest for a grammar that llama.cpp cannot parse."""
        with _silent_stderr():  # the parser prints the grammar, which is the user's
            self._sampler = llama.llama_sampler_init_grammar(vocabulary.handle, text.encode(), b"root")
        if not self._sampler:  # NULL in a chain ends the process
            raise InvalidRequest("grammar: cannot be parsed; it must be GBNF with a `root` rule", "grammar")
        self._vocabulary = vocabulary
        self._gate = gate
        self._control_pieces = control_pieces

    def lets(self, token: int) -> bool:
        """Whether a token is taken although or because the grammar does not hold yet; it is noted then."""
        piece = self._piece(token)
        if not self._gate.lets(piece, ends=self._vocabulary.ends_generation(token)):
            self._gate.hold()
            return False
        begun = self._gate.push(piece)
        if begun and not self._follow(begun):
            with _silent_stderr():
                llama.llama_sampler_reset(self._sampler)
            self._gate.wait_on()
        return True

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        one = np.array([(token, 1.0, 0.0)], CANDIDATE)
        apply(self._sampler, one)
        return bool(np.isfinite(one["logit"][0])) and self.is_said(token)

    def is_said(self, token: int) -> bool:
        """Whether the client gets what the grammar sees of a token: of a control token it may get nothing."""
        return self._vocabulary.ends_generation(token) or bool(self._piece(token))

    def restrict(self, among: Candidates) -> None:
        """Make impossible what may not come next."""
        apply(self._sampler, among)

    def accept(self, token: int) -> None:
        """It was taken; it must be allowed."""
        llama.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free it. Safe to call twice."""
        if self._sampler:
            llama.llama_sampler_free(self._sampler)
        self._sampler = None

    def _follow(self, text: bytes) -> bool:
        """Begin with a text, by whatever tokens spell it; False: the grammar does not begin so."""
        tokens = self._vocabulary.spelled(text)
        for token in tokens or ():
            if not self.allows(token):
                return False
            self.accept(token)
        return tokens is not None

    def _piece(self, token: int) -> bytes:
        return self._vocabulary.piece(token, control=self._control_pieces)


def apply(sampler: Any, among: Candidates) -> Any:
    """Let llama.cpp change and reorder candidates in place; returns its own view of them."""
    array = llama.llama_token_data_array(
        data=ctypes.cast(among.ctypes.data, llama.llama_token_data_p),
        size=len(among),
        selected=-1,
        sorted=False,
    )
    llama.llama_sampler_apply(sampler, ctypes.byref(array))
    return array


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Let what C code prints to stderr go nowhere."""
    with _STDERR:
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
