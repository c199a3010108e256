"""The file of keys as text. (`edged key` is tested as its user runs it, in tests/unit/cli/test_key.py.)"""

import pytest

from edged.config.key_file import with_key, without_key, without_plain_text
from edged.config.keys import hashed_line, parse_key
from edged.errors import ConfigError

_PLAIN = "kept-in-plain-text"


def test_what_others_wrote_stays() -> None:
    text = with_key(f"# ours\n{_PLAIN}", "tablet", ["use"], "k")
    assert text == f"# ours\n{_PLAIN}\n{hashed_line('tablet', ['use'], 'k')}\n"
    assert without_key(text, "tablet") == f"# ours\n{_PLAIN}\n"
    broken = f"no key at all\n{text}"
    assert without_key(broken, "tablet") == f"no key at all\n# ours\n{_PLAIN}\n"


def test_what_is_handed_over_lets_the_same_keys_in_and_tells_none() -> None:
    text = f"# ours\n{_PLAIN}\nphone use {_PLAIN}-too\n{hashed_line('tablet', ['pull'], 'k')}\n"
    handed = without_plain_text(text, "api_keys")
    assert _PLAIN not in handed
    kept = [parse_key(line) for line in text.splitlines()[1:]]
    for key, line in zip(kept, handed.splitlines(), strict=True):
        handed_key = parse_key(line)
        assert (handed_key.name, handed_key.scopes, handed_key.digest) == (key.name, key.scopes, key.digest)
        assert handed_key.text is None


def test_what_is_no_key_is_told_by_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^api_keys: line 2: a key has at least 16 characters$"):
        without_plain_text("# ours\nhunter2\n", "api_keys")
