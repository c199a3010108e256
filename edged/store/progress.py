"""What a pull reports while it runs."""

from typing import Protocol


class Progress(Protocol):
    """Whoever watches a pull. Called from the pulling thread only."""

    def say(self, text: str) -> None:
        """A line worth keeping."""

    def advance(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        """So much of one step is done; a new label begins a new step."""
