"""API keys from a file that only root can read; systemd hands it over (LoadCredential=).

The configuration is everybody's to read, so keys are better kept beside it: one a line, `#` begins a comment.
systemd copies the file when the service starts, and the service's own user may not read it: a later change
comes with root's `edged reload`, which hands over the text.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from edged.config import tree
from edged.errors import ConfigError

_NAME = "api_keys"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
_MAX_BYTES = 1 << 20


def beside(config_file: Path) -> Path:
    """The file of keys that belongs to a configuration file."""
    return config_file.with_name(_NAME)


def key_file(config_file: Path) -> Path:
    """The file that keys are read from: among the credentials of this process, if it has such a folder."""
    credentials = os.environ.get(_CREDENTIALS)
    return Path(credentials, _NAME) if credentials else beside(config_file)


def read_keys(file: Path) -> str | None:
    """The text of a file of keys; None when there is none. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError([f"{file}: larger than {_MAX_BYTES >> 20} MiB: these are no keys"])
        return content.decode("utf-8")
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ConfigError([f"{file}: only root may read the keys; try again with sudo"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from None


def key_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of such a text that hold a key, each with its place among all lines."""
    for number, line in enumerate(text.splitlines()):
        if line.strip() and not line.strip().startswith("#"):
            yield number, line.strip()


def add_api_keys(root: tree.Node | None, config_file: Path, given: str | None = None) -> tree.Node | None:
    """The configuration with the file's keys after its own; what is wrong with them, its reader reports.

    Under systemd these are its credentials, or what was `given` in their place; otherwise those in the file
    beside the configuration's. Raises ConfigError if that is unreadable, or somebody else's.
    """
    file = key_file(config_file)
    handed_over = bool(os.environ.get(_CREDENTIALS))
    text = given if handed_over and given is not None else read_keys(file)
    if not text:
        return root
    if not handed_over:
        _check_owner(file, config_file)
    return _with_keys(root, [line for _, line in key_lines(text)], str(file))


def _check_owner(file: Path, config_file: Path) -> None:
    """A folder such as /tmp lets others put a file beside ours, which would let them in."""
    trusted = {0, os.geteuid()}
    if config_file.exists():
        trusted.add(config_file.stat().st_uid)
    if file.stat().st_uid not in trusted:
        raise ConfigError([f"{file}: belongs to somebody else, who must not say which keys are let in"])


def _with_keys(root: tree.Node | None, keys: list[str], source: str) -> tree.Node | None:
    if not keys:
        return root
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
