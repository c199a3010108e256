"""Which of a server's models a verb means."""

from typing import Any

from edged.cli.client import Client
from edged.errors import EdgedError

_WHAT = {"generate": "generates text", "embed": "makes embeddings"}


def chosen(client: Client, kind: str, named: str | None) -> str:
    """The model that was named, else the only one of this kind. Raises EdgedError.

    Servers other than edged do not say what their models are for: there, any that is alone will do.
    """
    if named is not None:
        return named
    fitting = [model for model, its_kind in _kinds(client).items() if its_kind in (kind, None)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise EdgedError(f"no model here {_WHAT[kind]}: configure one, or name another edged with --url")
    raise EdgedError(f"more than one model here {_WHAT[kind]}; name one of {', '.join(fitting)}")


def kind_of(client: Client, model: str) -> str | None:
    """What a model is for; None where the server does not say. Raises EdgedError."""
    return _kinds(client).get(model)


def _kinds(client: Client) -> dict[str, str | None]:
    listed: list[dict[str, Any]] = client.get("/v1/models")["data"]
    return {str(each["id"]): (each.get("meta") or {}).get("kind") for each in listed}
