"""Every field that OpenAI documents has its place. The types of its own client name them."""

from typing import Any

import pytest
from openai.types import completion_create_params as text
from openai.types import embedding_create_params as embedding
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses

from edged.api.endpoint import Endpoint
from edged.api.openai.chat import CHAT
from edged.api.openai.completions import COMPLETIONS
from edged.api.openai.embeddings import EMBEDDINGS
from edged.api.openai.responses.routes import RESPONSES


@pytest.mark.parametrize(
    ("endpoint", "params"),
    [
        (CHAT, chat.CompletionCreateParamsStreaming),
        (COMPLETIONS, text.CompletionCreateParamsStreaming),
        (RESPONSES, responses.ResponseCreateParamsStreaming),
        (EMBEDDINGS, embedding.EmbeddingCreateParams),
    ],
    ids=lambda each: each.path if isinstance(each, Endpoint) else "",
)
def test_each_is_honoured_harmless_or_refused(endpoint: Endpoint, params: Any) -> None:
    assert endpoint.request is not None
    known = {*endpoint.request.__struct_fields__, *endpoint.harmless, *endpoint.refused}
    assert set(params.__annotations__) <= known
