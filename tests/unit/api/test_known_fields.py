"""Every field that an original API's own client can send is honoured, harmless, or refused by name."""

from collections.abc import Iterable

import ollama._types
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from edged.api.app import ENDPOINTS

_KNOWN: dict[str, Iterable[str]] = {
    "/v1/chat/completions": chat_create_params.CompletionCreateParamsStreaming.__annotations__,
    "/v1/completions": completion_create_params.CompletionCreateParamsStreaming.__annotations__,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams.__annotations__,
    "/v1/responses": response_create_params.ResponseCreateParamsStreaming.__annotations__,
    "/api/chat": ollama._types.ChatRequest.model_fields,
    "/api/delete": ollama._types.DeleteRequest.model_fields,
    "/api/embed": ollama._types.EmbedRequest.model_fields,
    "/api/embeddings": ollama._types.EmbeddingsRequest.model_fields,
    "/api/generate": ollama._types.GenerateRequest.model_fields,
    "/api/pull": ollama._types.PullRequest.model_fields,
    "/api/show": ollama._types.ShowRequest.model_fields,
}


@pytest.mark.parametrize("path", _KNOWN)
def test_no_field_of_the_client_is_unknown(path: str) -> None:
    [endpoint] = [each for each in ENDPOINTS if each.path == path]
    assert endpoint.request is not None
    fates = {*endpoint.request.__struct_encode_fields__, *endpoint.harmless, *endpoint.refused}
    assert set(_KNOWN[path]) - fates == set()
