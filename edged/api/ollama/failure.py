"""What goes wrong, in a stream of ollama's."""

from edged.api.event_stream import line
from edged.errors import EdgedError


def failure(error: EdgedError) -> bytes:
    """The line that ollama's clients raise."""
    return line({"error": str(error)})
