"""What is asked: the same requests for every program, different ones for every client and turn. Pure."""

import random
from typing import Any

import msgspec

_COMMON = """
about after again air all along also always an and animal another any are around as ask at away back
be because been before began being below between big book both boy but by call came can car carry
change children city close come could country cut day did different do does down each earth eat end
enough even every example eye face family far father feet few find first follow food for form found
four from get girl give go good got great group grow had hand hard has have he head hear help her
here high him his home house how idea if important in into is it just keep kind know land large last
later learn leave left let letter life light like line list little live long look made make man many
may me mean men might mile more most mother mountain move much must my name near need never new next
night no not now number of off often old on once one only open or other our out over own page paper
part people place plant play point put question quick read really right river run said same saw say
school sea second see seem sentence set she should show side small so some something song soon sound
spell stand start state still stop story study such take talk tell than that the their them then
there these they thing think this those thought three through time to together too took tree try
turn two under until up us use very walk want was watch water way we well went were what when where
which while white who why will with without word work world would write year you young
"""
_WORDS = _COMMON.split()

CHAT = "/v1/chat/completions"
EMBED = "/v1/embeddings"


def words(number: int, n_words: int) -> str:
    """A text of common words (nearly all one token each), another one for each number."""
    chosen = random.Random(number)
    return " ".join(chosen.choice(_WORDS) for _ in range(n_words)).capitalize() + "."


def sentence(number: int) -> str:
    """What is embedded: about 21 tokens of MiniLM's, with the two that mark both ends."""
    return words(number, 18)


def question(number: int) -> str:
    """A short question; the number comes first, so that two share nothing but the template's head."""
    topics = (
        "a lighthouse", "a bicycle", "the tides", "bread", "a violin", "glaciers", "a compass", "beeswax",
        "a water mill", "comets", "steam engines", "coral", "the printing press", "salt", "kites", "thunder",
    )  # fmt: skip
    asks = ("How does", "Who first used", "Why do people like", "What should a child know of")
    ask = asks[(number // len(topics)) % len(asks)]
    return f"{number}. {ask} {topics[number % len(topics)]}? Answer in plain words, with an example."


class Usage(msgspec.Struct, frozen=True):
    """What an answer says of its cost."""

    class Details(msgspec.Struct, frozen=True):
        """Of the prompt."""

        cached_tokens: int = 0

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were in the KV cache already."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0


class Message(msgspec.Struct, frozen=True):
    """Of a whole answer, or what a piece of a stream adds."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """The only one."""

    message: Message = Message()
    delta: Message = Message()


class Answer(msgspec.Struct, frozen=True):
    """A whole chat answer, or one event of a stream."""

    choices: list[Choice] = []
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text it holds or adds."""
        choice = self.choices[0] if self.choices else Choice()
        return choice.message.content or choice.delta.content or ""


answer_from_json = msgspec.json.Decoder(Answer).decode


def chat(messages: str | list[dict[str, str]], n_tokens: int, *, cache: bool = True, **more: Any) -> bytes:
    """A chat request, greedy, for exactly so many tokens. `messages` may be the user's only one."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"messages": messages, "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True}
    return msgspec.json.encode(body | {"cache_prompt": cache} | more)


def streamed_chat(messages: str | list[dict[str, str]], n_tokens: int, **more: Any) -> bytes:
    """The same as a stream that ends with its usage."""
    return chat(messages, n_tokens, stream=True, stream_options={"include_usage": True}, **more)


def embed(texts: list[str], **more: Any) -> bytes:
    """An embedding request."""
    return msgspec.json.encode({"input": texts[0] if len(texts) == 1 else texts} | more)
