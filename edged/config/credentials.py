"""API keys from a file that only root can read; systemd hands it over (LoadCredential=).

The configuration is everybody's to read, so keys are better kept beside it: one a line, `#` begins a comment.
"""

import os
from pathlib import Path

from edged.config import tree
from edged.errors import ConfigError

_NAME = "api_keys"


def add_api_keys(root: tree.Node | None, beside: Path | None) -> tree.Node | None:
    """The configuration with the file's keys after its own; what is wrong with them, its reader reports.

    Outside the service the file is looked for in the folder `beside`. Raises ConfigError if it is unreadable.
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(given) if given else beside
    if folder is None or not (keys := _read(folder / _NAME)):
        return root
    source = str(folder / _NAME)
    if root is None or tree.is_nothing(root):
        root = tree.Mapping(source=source, items={})
    access = _section(root, "access", tree.Mapping(source=source, items={}))
    listed = _section(access, "api_keys", tree.Listing(source=source, items=[]))
    if isinstance(listed, tree.Listing):
        listed.items += [tree.Scalar(source=source, text=key, is_text=True, is_null=False) for key in keys]
    return root


def _section(parent: tree.Node | None, key: str, empty: tree.Node) -> tree.Node | None:
    """What stands under `key`, or `empty` put there; None in a parent that is no mapping."""
    if not isinstance(parent, tree.Mapping):
        return None
    found = parent.items.get(key)
    if found is None or tree.is_nothing(found):
        parent.items[key] = found = empty
    return found


def _read(file: Path) -> list[str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except PermissionError:
        raise ConfigError([f"{file}: only root may read the keys; try again with sudo"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from None
    return [key for line in lines if (key := line.strip()) and not key.startswith("#")]
