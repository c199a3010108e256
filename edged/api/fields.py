"""Fields that requests of several APIs share: their ranges, and what OpenAPI and docs/api.md say of them.

Each is a field of `protocol.Sampling` or `protocol.Generate`; None is the default there (llama-server's).
"""

from typing import Annotated, Any

from msgspec import Meta

_INT32 = 2**31 - 1


# For a field that a request cannot do without, and whose absence edged explains better than msgspec.
NEEDED = Meta(extra_json_schema={"x-needed": True})


def _doc(text: str) -> Meta:
    return Meta(description=text)


Model = Annotated[
    str, Meta(min_length=1, max_length=256), NEEDED, _doc("The model's name; GET /v1/models lists them.")
]
OneModel = Annotated[
    str, Meta(min_length=1), _doc("The model's name; needed where several models could be meant.")
]
Temperature = Annotated[
    float, Meta(ge=0, le=100), _doc("How freely tokens are chosen; 0 always takes the likeliest.")
]
TopK = Annotated[int, Meta(ge=0, le=_INT32), _doc("Choose among so many of the likeliest tokens; 0: all.")]
TopP = Annotated[
    float, Meta(ge=0, le=1), _doc("Choose among the likeliest tokens that together have this probability.")
]
MinP = Annotated[
    float, Meta(ge=0, le=1), _doc("Leave out tokens less likely than this share of the likeliest.")
]
TypicalP = Annotated[float, Meta(ge=0, le=1), _doc("Locally typical sampling; 1 turns it off.")]
RepeatPenalty = Annotated[float, Meta(ge=0.01, le=10), _doc("Penalise tokens that came lately; 1: not.")]
RepeatLastN = Annotated[int, Meta(ge=0, le=65536), _doc("How many of the last tokens penalties look at.")]
PresencePenalty = Annotated[float, Meta(ge=-2, le=2), _doc("Penalise tokens that have come at all.")]
FrequencyPenalty = Annotated[float, Meta(ge=-2, le=2), _doc("Penalise tokens by how often they have come.")]
Mirostat = Annotated[int, Meta(ge=0, le=2), _doc("Mirostat sampling, version 1 or 2; 0: off.")]
MirostatTau = Annotated[float, Meta(ge=0, le=100), _doc("Mirostat's target entropy.")]
MirostatEta = Annotated[float, Meta(ge=0, le=1), _doc("Mirostat's learning rate.")]
# Every step looks at all of them, for all who share the batch.
LogitBias = Annotated[
    dict[Annotated[int, Meta(ge=0, le=_INT32)], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=1024, extra_json_schema={"propertyNames": {"pattern": "^[0-9]{1,10}$"}}),
    _doc("What is added to the logits of tokens, by the token's number."),
]
Seed = Annotated[
    int, Meta(ge=-(2**63), le=2**63 - 1), _doc("The same seed gives the same answer; -1: another each time.")
]
# An upper bound: a number beyond the context is no error, the answer then ends with the context ("length").
MaxTokens = Annotated[int, Meta(ge=1, le=_INT32), _doc("Most tokens of an answer.")]
Answers = Annotated[int, Meta(ge=1, le=128), _doc("How many answers to the same prompt.")]
Stop = Annotated[
    str | list[str], _doc("Up to 16 texts of 1 to 256 characters; an answer ends before one of them.")
]
Grammar = Annotated[str, _doc("A GBNF grammar that the answer is held to.")]
JsonSchema = Annotated[Any, _doc("A JSON Schema that the answer is held to.")]
IgnoreEos = Annotated[bool, _doc("Go on until the answer's length is reached.")]
CachePrompt = Annotated[bool, _doc("Use what was computed of the same beginning before; true by default.")]
Stream = Annotated[bool, _doc("Send the answer piece by piece.")]
KeepAlive = Annotated[
    float | str,
    _doc("How long the model stays loaded afterwards: seconds, or `10m`; 0: unload it after the answer."),
]
