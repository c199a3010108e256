"""Which model is meant, on edged and on servers that say less."""

from typing import Any, cast

import pytest

from edged.cli.client import Client
from edged.cli.model_choice import chosen, kind_of
from edged.errors import EdgedError


class Listing:
    """A server with these models."""

    def __init__(self, **kinds: str | None) -> None:
        self._listed = [
            {"id": model} if kind is None else {"id": model, "meta": {"kind": kind}}
            for model, kind in kinds.items()
        ]

    def get(self, path: str) -> Any:
        assert path == "/v1/models"
        return {"data": self._listed}


def server(**kinds: str | None) -> Client:
    return cast(Client, Listing(**kinds))


def test_the_only_one_of_its_kind_needs_no_name() -> None:
    both = server(talk="generate", find="embed")
    assert chosen(both, "generate", None) == "talk"
    assert chosen(both, "embed", None) == "find"
    assert chosen(both, "embed", "other") == "other"
    assert kind_of(both, "find") == "embed"


def test_several_need_one() -> None:
    with pytest.raises(EdgedError, match=r"more than one model here generates text; name one of a, b$"):
        chosen(server(a="generate", b="generate"), "generate", None)
    with pytest.raises(EdgedError, match="no model here makes embeddings"):
        chosen(server(a="generate"), "embed", None)


def test_other_servers_do_not_say_what_for() -> None:
    assert chosen(server(a=None), "generate", None) == "a"
    assert kind_of(server(a=None), "a") is None
