"""Model names as ollama's clients write them: `smollm2` is also `smollm2:latest`."""

from edged.errors import InvalidRequest

_TAG = ":latest"


def shown(model: str) -> str:
    """A configured model's name in a list, where clients look for what they were told to use."""
    return model + _TAG


def configured(name: str | None, older: str | None = None) -> str:
    """The configured model that a request means. `older`: its field `name`, which came before `model`.

    Raises InvalidRequest where both are missing.
    """
    wanted = name or older
    if not wanted:
        raise InvalidRequest("model: is missing; GET /api/tags lists the models here", "model")
    return wanted.removesuffix(_TAG)
