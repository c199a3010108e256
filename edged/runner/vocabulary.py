"""A model's vocabulary. It only reads, so any thread may use it beside the one that computes."""

import ctypes
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from llama_cpp import llama_cpp as llama

_SPELLING = (llama.LLAMA_VOCAB_TYPE_SPM, llama.LLAMA_VOCAB_TYPE_BPE)  # each byte is part of a token
_REMEMBERED_PIECES = 8192  # most of what a model says: under a megabyte


class Vocabulary:
    """Text to tokens and back."""

    def __init__(self, model: Any) -> None:
        self._vocab = llama.llama_model_get_vocab(model)
        self.size = llama.llama_vocab_n_tokens(self._vocab)
        self.bos_text = self._text_of(llama.llama_vocab_bos(self._vocab))
        self.eos_text = self._text_of(llama.llama_vocab_eos(self._vocab))
        self._remembered_piece = lru_cache(_REMEMBERED_PIECES)(self._piece)
        self.adds_bos: bool = llama.llama_vocab_get_add_bos(self._vocab)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Two texts as one input, as cross-encoders are trained on; in llama-server's order."""
        bos, eos, sep = (
            function(self._vocab)
            for function in (llama.llama_vocab_bos, llama.llama_vocab_eos, llama.llama_vocab_sep)
        )
        end = [eos if eos >= 0 else sep] if llama.llama_vocab_get_add_eos(self._vocab) else []
        between = [sep] if llama.llama_vocab_get_add_sep(self._vocab) else []
        tokens = [*([bos] if self.adds_bos else []), *first, *end, *between, *second, *end]
        return [token for token in tokens if token >= 0]  # some vocabularies lack what they say they add

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer, for samplers that need it."""
        return self._vocab

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Tokens of `text`; control tokens in it are recognised only with `parse_special`."""
        raw = text.encode("utf-8")
        room = len(raw) + 16
        while True:
            tokens = (llama.llama_token * room)()
            count = llama.llama_tokenize(self._vocab, raw, len(raw), tokens, room, add_special, parse_special)
            if count >= 0:
                return tokens[:count]
            room = -count

    def piece(self, token: int, *, control: bool = False) -> bytes:
        """The bytes of one token; control tokens give none unless those of `control` tokens are wanted."""
        return self._remembered_piece(token, control)

    def _piece(self, token: int, control: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, room, 0, control)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def fewest_tokens(self, n_bytes: int) -> int:
        """How many tokens a text of so many bytes becomes at least; 0 where that cannot be told.

        Other kinds of vocabularies leave out blanks, or have one token for all that they do not know.
        """
        return n_bytes // self._longest_bytes if llama.llama_vocab_type(self._vocab) in _SPELLING else 0

    @cached_property
    def _longest_bytes(self) -> int:
        """Of one token. Walks the whole vocabulary, once."""
        return max(len(self._piece(token, True)) for token in range(self.size))

    def spelled(self, text: bytes) -> list[int] | None:
        """Tokens whose bytes are exactly these, a character each; None where there is no token for one."""
        try:
            tokens = [self._letter(each) for each in text.decode("utf-8")]
        except UnicodeDecodeError:
            return None
        return [each for each in tokens if each is not None] if None not in tokens else None

    def _letter(self, character: str) -> int | None:
        """A token of one character. Alone it may get a blank in front, behind others be a part of one."""
        for before in ("", "\n", "a"):
            last = self.tokenize(before + character, add_special=False, parse_special=False)[-1:]
            if last and self.piece(last[0]) == character.encode():
                return last[0]
        return None

    def ends_generation(self, token: int) -> bool:
        """Whether the model says with this token that it has finished."""
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """Every token that ends generation. Walks the whole vocabulary, once."""
        return tuple(token for token in range(self.size) if self.ends_generation(token))

    @cached_property
    def suppressed_tokens(self) -> tuple[int, ...]:
        """Tokens that the model's file forbids to generate."""
        count = ctypes.c_int32(0)
        tokens = llama.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(count))
        return tuple(tokens[: count.value]) if count.value else ()

    def control_texts(self) -> list[str]:
        """The text of every control token. Walks the whole vocabulary."""
        return [self._text_of(t) for t in range(self.size) if llama.llama_vocab_is_control(self._vocab, t)]

    def _text_of(self, token: int) -> str:
        raw = llama.llama_vocab_get_text(self._vocab, token) if token >= 0 else None
        return raw.decode("utf-8", "replace") if raw else ""
