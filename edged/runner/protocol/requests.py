"""What the daemon asks a runner for. The `id` is the daemon's; answers carry it."""

import msgspec

from edged.runner.protocol.bounds import Seconds
from edged.runner.protocol.conversation import Message, Tool


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """llama.cpp's sampler chain. Values were checked at the door; defaults are llama-server's."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: int = 0  # 1 or 2 replaces top_k to min_p
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    grammar: str | None = None
    # It holds from where the answer's text contains one (^…: begins with it); without any, from the start.
    grammar_triggers: tuple[str, ...] = ()
    grammar_lets_think: bool = False  # before that, what the model thinks is free
    ignore_eos: bool = False


class Generate(msgspec.Struct, frozen=True, tag="generate", kw_only=True):
    """Continue a conversation (rendered with the model's chat template), a text, or tokens."""

    id: int
    messages: tuple[Message, ...] | None = None
    tools: tuple[Tool, ...] = ()  # that the model is told of
    template_options: str = ""  # the text of a JSON object: more variables for the chat template
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None  # None: as many as the context holds
    stop: tuple[str, ...] = ()
    control_pieces: bool = False  # control tokens in the answer give their text; those that end it never do
    timeout_s: Seconds | None = None  # from now; nothing is computed for it after that
    cache_prompt: bool = True  # False: the whole prompt is computed
    n: int = 1  # answers to the same prompt; each is sampled with a seed of its own
    top_logprobs: int | None = None  # how many of the likeliest tokens to name beside each; None: no logprobs
    tell_tokens: bool = False  # their numbers beside their text
    whole: bool = False  # the client takes all at once: only the first tokens and the rest are sent


class Embed(msgspec.Struct, frozen=True, tag="embed", kw_only=True):
    """Embed texts or token lists; the answer keeps their order."""

    id: int
    texts: tuple[str, ...] = ()
    token_lists: tuple[tuple[int, ...], ...] = ()
    truncate: bool = False


class Rank(msgspec.Struct, frozen=True, tag="rank", kw_only=True):
    """Say how well each document answers the query; only a cross-encoder can."""

    id: int
    query: str
    documents: tuple[str, ...]
    truncate: bool = False  # cut documents that are too long


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize", kw_only=True):
    """The tokens of a text."""

    id: int
    text: str
    add_special: bool = False  # with those that the vocabulary puts around a text
    parse_special: bool = False  # the texts of control tokens become them
    pieces: bool = False  # say also the bytes of each token


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize", kw_only=True):
    """The text of tokens."""

    id: int
    tokens: tuple[int, ...]


class Render(msgspec.Struct, frozen=True, tag="render", kw_only=True):
    """The text that a conversation becomes by the model's chat template."""

    id: int
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    template_options: str = ""
    add_generation_prompt: bool = True  # end with what begins the assistant's turn


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The client has gone: free the slot at the next step. Nothing more is sent for this id."""

    id: int
