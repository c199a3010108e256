"""Which model a request means. llama.cpp's own server has only one, so that its clients name none."""

from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.policy.types import Kind


def model_of(api: Api, named: str | None, kind: Kind) -> str:
    """The model that is named, else the only one of this kind. Raises InvalidRequest."""
    if named is not None:
        return named
    fitting = [status.model for status in api.pool.statuses() if status.kind == kind]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise InvalidRequest(f"model: is missing, and there is none of kind {kind} here", "model")
    raise InvalidRequest(f"model: is missing; send one of {', '.join(fitting)}", "model")


def vocabulary_of(api: Api, named: str | None) -> str:
    """The same where any kind will do: without a name, one that generates text, or that is alone."""
    statuses = api.pool.statuses()
    if named is None and len(statuses) == 1:
        return statuses[0].model
    return model_of(api, named, "generate")
