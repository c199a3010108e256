"""A bound on the work that schemas of strangers may cost, however small they are."""

from edged.api.json_schema.regular import TooLarge

_CHARACTERS_PER_UNIT = 400  # that are written or compared in the time of a step


class Work:
    """Steps of combining and comparing that are left, for all schemas of one answer."""

    def __init__(self, units: int) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Some steps. Raises TooLarge."""
        self._left -= units
        if self._left < 0:
            raise TooLarge

    def compare(self, text: str) -> None:
        """A text was made, and is looked up. Raises TooLarge."""
        self.spend(1 + len(text) // _CHARACTERS_PER_UNIT)
