"""Keys as they are kept: what a line may be, and that none is repeated."""

import hashlib

import pytest

from edged.config.keys import SCOPES, BadKey, digest_of, hashed_line, new_key, parse_key

_KEY = "0123456789abcdef"
_HEX = hashlib.sha256(_KEY.encode()).hexdigest()


def test_a_key_in_plain_text_may_do_everything() -> None:
    key = parse_key(_KEY)
    assert (key.name, key.scopes, key.text) == (None, frozenset(SCOPES), _KEY)
    assert key.digest.hex() == _HEX


def test_a_hashed_one_is_known_by_its_hash_alone() -> None:
    line = hashed_line("tablet", ("pull", "use"), _KEY)
    assert line == f"tablet use,pull sha256:{_HEX}"
    key = parse_key(line)
    assert (key.name, key.scopes, key.text) == ("tablet", frozenset({"use", "pull"}), None)
    assert key.digest == digest_of(_KEY.encode())
    assert parse_key(f"sha256:{_HEX}").digest == key.digest


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("tablet use", "as `edged key add` writes it"),
        ("a b c d", "printable ASCII characters without spaces"),
        (f"Tablet use {_KEY}", "a key's name"),
        (f"tablet all {_KEY}", "some of use, metrics, manage, pull"),
        (f"tablet use, {_KEY}", "some of use, metrics, manage, pull"),
        ("tablet use short", "at least 16 characters"),
        ("tablet use nötignötignötig", "printable ASCII"),
        (f"tablet use sha256:{_HEX[:-1]}", "64 hexadecimal digits"),
        (f"sha256:{_HEX.upper()}", "64 hexadecimal digits"),
    ],
)
def test_what_is_no_key_is_said_without_repeating_it(line: str, why: str) -> None:
    with pytest.raises(BadKey, match=why) as caught:
        parse_key(line)
    assert line.split()[-1] not in str(caught.value) or len(line.split()[-1]) < 4


def test_new_ones_are_256_random_bits_that_fit_a_header() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert len(key) == len("edged_") + 43  # 32 bytes in base64
        assert parse_key(key).text == key
