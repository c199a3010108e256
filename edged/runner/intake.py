"""The daemon's requests as jobs for the engine: tokenised and checked against the model, or rejected."""

import math
import sys
import time
from collections.abc import Sequence as SequenceOf
from functools import partial

import msgspec

from edged.errors import InvalidRequest, ModelFileError
from edged.runner import protocol
from edged.runner.engine.default_template import default_template
from edged.runner.engine.embed import EmbedJob
from edged.runner.engine.gate import Gate
from edged.runner.engine.pairs import Pairs
from edged.runner.engine.prompt import ChatTemplate, Conversation, Prompt, plain_tokens
from edged.runner.engine.room import Room, first_tokens
from edged.runner.engine.sampling import GREEDY_BELOW, check_grammar, seed_of, stages
from edged.runner.engine.sequence import Sequence
from edged.runner.engine.text import TextStream
from edged.runner.grammar import Grammar
from edged.runner.model import Model
from edged.runner.renderer import Renderer
from edged.runner.sampler import Sampler
from edged.runner.vocabulary import Vocabulary


class Intake:
    """What a loaded model accepts. Only reads the vocabulary, so it runs beside the engine thread."""

    def __init__(
        self, model: Model, n_ctx: int, max_answers: int, chat: ChatTemplate | str | None = None
    ) -> None:
        """`max_answers` of one request find a place in slots and queue; `chat` may be why there is none."""
        self._vocabulary = model.vocabulary
        self._n_ctx = n_ctx
        self._room = Room(model.vocabulary, n_ctx)
        self.max_answers = max_answers
        self._pairs = Pairs(model.vocabulary, model.rank_template, n_ctx)
        self._template = chat

    @property
    def chat(self) -> protocol.ChatFormat | None:
        """How the model writes its part of conversations; None: they cannot be rendered."""
        return self._template.format if isinstance(self._template, ChatTemplate) else None

    def tokens(self, request: protocol.Tokenize) -> protocol.Tokens:
        """A text's tokens."""
        tokens = self._vocabulary.tokenize(
            request.text, add_special=request.add_special, parse_special=request.parse_special
        )
        pieces = tuple(self._vocabulary.piece(token, control=True) for token in tokens)
        return protocol.Tokens(id=request.id, tokens=tuple(tokens), pieces=pieces if request.pieces else ())

    def text(self, request: protocol.Detokenize | protocol.Render) -> protocol.Text:
        """The text of tokens, or of a conversation. Raises InvalidRequest."""
        if isinstance(request, protocol.Render):
            text = self._chat().text(
                Conversation(
                    request.messages, request.tools, request.template_options, request.add_generation_prompt
                )
            )
        else:
            self._check_tokens(request.tokens, "tokens")
            pieces = (self._vocabulary.piece(token, control=True) for token in request.tokens)
            text = b"".join(pieces).decode("utf-8", "replace")
        return protocol.Text(request.id, text)

    def prompt(self, request: protocol.Generate) -> Prompt:
        """What a generation continues. Raises InvalidRequest."""
        prompt, param = self._prompt(request)
        self._room.check(len(prompt.tokens), param)
        return prompt

    def sequence(self, request: protocol.Generate, prompt: Prompt) -> Sequence:
        """A generation request as a sequence. Raises InvalidRequest."""
        if not 1 <= request.n <= self.max_answers:
            raise InvalidRequest(
                f"n: {request.n} answers are too many; slots and queue hold {self.max_answers}",
                "n",
            )
        if request.sampling.grammar is not None:
            check_grammar(request.sampling.grammar)
        self._check_tokens(list(request.sampling.logit_bias), "logit_bias")
        first_seed = seed_of(request.sampling.seed)
        first, *siblings = [
            self._answer(request, prompt, index, first_seed + index) for index in range(request.n)
        ]
        first.siblings = tuple(siblings)
        return first

    def _answer(self, request: protocol.Generate, prompt: Prompt, index: int, seed: int) -> Sequence:
        """One of the answers to a request."""
        sampling = msgspec.structs.replace(request.sampling, seed=seed)
        n_tokens = len(prompt.tokens)
        room = self._n_ctx - n_tokens
        grammar = self._grammar(request, prompt)
        return Sequence(
            id=request.id,
            tokens=list(prompt.tokens),
            n_prompt_tokens=n_tokens,
            max_tokens=room if request.max_tokens is None else min(room, request.max_tokens),
            sampler=Sampler(
                self._vocabulary, stages(sampling), self._biases(sampling), grammar, prompt.tokens
            ),
            text=TextStream(request.stop),
            has_grammar=sampling.grammar is not None,
            index=index,
            deadline_s=math.inf if request.timeout_s is None else time.monotonic() + request.timeout_s,
            top_logprobs=request.top_logprobs,
            cache_prompt=request.cache_prompt or index > 0,  # the answers to one prompt share it
            tell_tokens=request.tell_tokens,
            whole=request.whole,
            control_pieces=request.control_pieces,
            opens_reasoning=prompt.opens_reasoning,
            # the same seed must give the same text, and steps of other sizes may round differently
            may_draft=request.sampling.seed in (None, -1) or request.sampling.temperature < GREEDY_BELOW,
        )

    def _grammar(self, request: protocol.Generate, prompt: Prompt) -> Grammar | None:
        """An answer's own, since it remembers what it has followed."""
        sampling = request.sampling
        if sampling.grammar is None:
            return None
        reasoning = self.chat.reasoning if self.chat and sampling.grammar_lets_think else None
        gate = Gate(sampling.grammar_triggers, reasoning, opened=prompt.opens_reasoning)
        return Grammar(self._vocabulary, sampling.grammar, gate, control_pieces=request.control_pieces)

    def _biases(self, sampling: protocol.Sampling) -> dict[int, float]:
        """What is added to logits, whatever the request's chain."""
        never = self._vocabulary.suppressed_tokens
        if sampling.ignore_eos:
            never += self._vocabulary.end_tokens
        return {**sampling.logit_bias, **dict.fromkeys(never, float("-inf"))}

    def embed_job(self, request: protocol.Embed) -> EmbedJob:
        """An embedding request as token lists. Raises InvalidRequest."""
        tokenize = partial(plain_tokens, self._vocabulary)
        inputs = [first_tokens(text, self._n_ctx, tokenize) for text in request.texts]
        for token_list in request.token_lists:
            self._check_tokens(token_list, "input")
            inputs.append(list(token_list))
        for index, tokens in enumerate(inputs):
            if not tokens:
                raise InvalidRequest(f"input[{index}]: is empty; the model needs at least one token", "input")
            if len(tokens) > self._n_ctx and not request.truncate:
                raise InvalidRequest(
                    f"input[{index}]: {len(tokens)} tokens are more than the model's limit of {self._n_ctx};"
                    " shorten it or send truncate: true",
                    "input",
                )
        # the last token closes the input ([SEP]); a truncated one keeps it
        cut = [t if len(t) <= self._n_ctx else [*t[: self._n_ctx - 1], t[-1]] for t in inputs]
        return EmbedJob(request.id, cut, [])

    def rank_job(self, request: protocol.Rank) -> EmbedJob:
        """A query with each of the documents as token lists. Raises InvalidRequest."""
        inputs = self._pairs.tokens(request.query, request.documents, cut=request.truncate)
        for index, tokens in enumerate(inputs):
            if len(tokens) <= self._n_ctx:
                continue
            path = "query" if request.truncate else f"documents[{index}]"
            advice = "shorten it" if request.truncate else "shorten it or send truncate: true"
            raise InvalidRequest(
                f"{path}: query and document have {len(tokens)} tokens, more than the model's limit of"
                f" {self._n_ctx}; {advice}",
                path,
            )
        return EmbedJob(request.id, inputs, [])

    def _prompt(self, request: protocol.Generate) -> tuple[Prompt, str]:
        if request.messages is not None:
            asked = Conversation(request.messages, request.tools, request.template_options)
            rendered = partial(self._room.check_text, param="messages")
            return self._chat().prompt(asked, rendered), "messages"
        if request.tokens is not None:
            self._room.check(len(request.tokens), "prompt")
            self._check_tokens(request.tokens, "prompt")
            return Prompt(list(request.tokens)), "prompt"
        text = request.text or ""
        self._room.check_text(text, "prompt")
        return Prompt(plain_tokens(self._vocabulary, text)), "prompt"

    def _chat(self) -> ChatTemplate:
        if isinstance(self._template, ChatTemplate):
            return self._template
        why = self._template or "the model has no chat template; use /v1/completions"
        raise InvalidRequest(f"messages: {why}", "messages")

    def _check_tokens(self, tokens: SequenceOf[int], param: str) -> None:
        for token in tokens:
            if not 0 <= token < self._vocabulary.size:
                raise InvalidRequest(
                    f"{param}: token {token} is outside the vocabulary (0 to {self._vocabulary.size - 1})",
                    param,
                )


def template_source(model: Model) -> str | None:
    """The text of the model's chat template, or of the one that its vocabulary asks for."""
    if model.chat_template:
        return model.chat_template
    known = default_template(model.vocabulary)
    if known is None:
        return None
    print(
        f"the model's file has no chat template; {known.family}'s is used, since its vocabulary has"
        f" {known.turn_token}",
        file=sys.stderr,
    )
    return known.source


def chat_template(renderer: Renderer, vocabulary: Vocabulary) -> ChatTemplate | str:
    """The template that the renderer has been given; a text says why it cannot be used."""
    try:
        return ChatTemplate(renderer.render, renderer.traits(), vocabulary)
    except ModelFileError as error:  # completions still work
        renderer.close()
        print(error, file=sys.stderr)
        return str(error)
