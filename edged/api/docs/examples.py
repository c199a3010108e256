"""A request to each endpoint that takes one, as the models of the shipped configuration answer it."""

from typing import Any

from edged.api.endpoint import Endpoint

_QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]

_BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "smollm2", "messages": _QUESTION, "max_tokens": 64},
    "/v1/completions": {"model": "smollm2", "prompt": "The sky is", "max_tokens": 16},
    "/v1/embeddings": {"model": "minilm", "input": ["The sky is blue.", "Grass is green."]},
    "/api/embed": {"model": "minilm", "input": ["The sky is blue.", "Grass is green."]},
    "/api/embeddings": {"model": "minilm", "prompt": "The sky is blue."},
    "/api/show": {"model": "smollm2"},
}


def example_of(endpoint: Endpoint) -> dict[str, Any] | None:
    """The body of such a request."""
    return _BODIES.get(endpoint.path) if endpoint.request is not None else None
