"""Settings changed in the text of a file: the rest of it stays as it was."""

import os
import stat
from pathlib import Path

import pytest

from edged.config.edit import value_at, with_value, write
from edged.config.load import load, load_text
from edged.config.schema import Access, Config, Model
from edged.errors import ConfigError, EdgedError

SHIPPED = (Path(__file__).parents[3] / "config" / "edged.yaml").read_text()
TEXT = """\
# my box
server:
    port: 8080   # the usual one

access: {mode: lan, hosts: [edge.local]}
models:
    # for search
    minilm:
        file: minilm.gguf
    qwen2.5-0.5b:
        file: "qwen.gguf"
        n_ctx: 1024 # enough
        strategy: 'lazy'

logging:
    level: info
"""


def changed_lines(before: str, after: str) -> list[str]:
    """The lines of `after` that `before` has not."""
    return [line for line in after.splitlines() if line not in before.splitlines()]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("models.smollm2.n_ctx", "2048", "    n_ctx: 2048"),
        ("models.minilm.n_ctx", "1024", "    n_ctx: 1024"),
        ("models.minilm.repack", "false", "    repack: false"),
        ("server.port", "9090", "  port: 9090"),
        ("server.idle_timeout", "90s", "  idle_timeout: 90s"),
        ("memory.budget", "512MiB", "  budget: 512MiB"),
        ("logging.level", "debug", "  level: debug"),
        ("access.api_keys", "[a-key-that-is-long-enough]", "  api_keys: [a-key-that-is-long-enough]"),
    ],
)
def test_only_the_one_line_of_the_shipped_file_changes(path: str, value: str, line: str) -> None:
    after = with_value(SHIPPED, "edged.yaml", path, value)
    assert changed_lines(SHIPPED, after) == [line]
    assert abs(len(after.splitlines()) - len(SHIPPED.splitlines())) <= 1
    load_text(after, "edged.yaml")


def test_comments_order_and_quotes_of_another_style_stay() -> None:
    after = with_value(TEXT, "f", "models.qwen2.5-0.5b.n_ctx", "2048")
    for kept in ("# my box", "# the usual one", "# for search", "# enough", "'lazy'", '"qwen.gguf"'):
        assert kept in after
    assert list(load_text(after, "f").models) == ["minilm", "qwen2.5-0.5b"]
    assert load_text(after, "f").models["qwen2.5-0.5b"].n_ctx == 2048
    assert after.index("server:") < after.index("access:") < after.index("models:") < after.index("logging:")


@pytest.mark.parametrize("dash", ["- ", "  - ", "    - "])
@pytest.mark.parametrize("step", [2, 3, 4])
def test_the_indentation_stays(step: int, dash: str) -> None:
    indent = " " * step
    text = f"access:\n{indent}mode: lan  # x\n{indent}hosts:\n{indent}{dash}one\n{indent}{dash}two\nmodels:\n"
    text += f"{indent}a:\n{indent * 2}file: a.gguf\n\n# the end\n"
    assert with_value(text, "f", "access.mode", "loopback") == text.replace("lan", "loopback").replace(
        "  # x", " # x"
    )


def test_sections_that_are_missing_or_empty_are_made() -> None:
    assert load_text(with_value("", "f", "server.port", "1"), "f").server.port == 1
    assert load_text(with_value("server:\n", "f", "server.port", "1"), "f").server.port == 1
    after = with_value(TEXT, "f", "memory.reserve", "64MiB")
    assert load_text(after, "f").memory.reserve == 64 << 20


def test_a_model_is_added_by_its_file_or_as_a_whole() -> None:
    after = with_value(TEXT, "f", "models.new.file", "new.gguf")
    assert load_text(after, "f").models["new"] == Model(file="new.gguf")
    after = with_value(TEXT, "f", "models.other-1.5b", "{file: other.gguf, preload: false}")
    assert load_text(after, "f").models["other-1.5b"] == Model(file="other.gguf", preload=False)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("models.minilm.n_ctxx", "5", r"n_ctxx: unknown key \(did you mean n_ctx\?\)"),
        ("models.minlm.n_ctx", "5", r"models.minlm: there is no such key; did you mean minilm\?"),
        ("modles.minilm.n_ctx", "5", r"modles: unknown key \(did you mean models\?\)"),
        ("models.minilm.n_ctx", "lots", r'expected a positive integer, got "lots"'),
        ("server.port", "70000", "expected an integer from 0 to 65535"),
        ("server", "5", "expected a mapping"),
        ("server.port.number", "5", "expected an integer"),
        ("access.mode", "any", "needs a key"),
        ("server.port", "[", "the value is no YAML"),
        ("server.port", "a: b: c", "the value is no YAML"),
        ("models.minilm.file", "", "expected text, got nothing"),
        ("models.Big.file", "x", "a name has lower-case letters"),
    ],
)
def test_what_would_be_wrong_is_refused_with_why(path: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        with_value(TEXT, "edged.yaml", path, value)


def test_other_problems_of_the_file_are_named_too() -> None:
    with pytest.raises(ConfigError, match=r"edged\.yaml: servr: unknown key"):
        with_value("servr: {}\n", "edged.yaml", "server.port", "1")
    with pytest.raises(ConfigError, match="given twice"):
        with_value("server: {port: 1, port: 2}\n", "edged.yaml", "logging.level", "debug")
    with pytest.raises(ConfigError, match="aliases"):
        with_value("a: &x 1\nb: *x\n", "edged.yaml", "server.port", "1")


def test_every_default_is_found_as_it_would_be_written() -> None:
    config = Config(models={"a.b": Model(file="x.gguf")}, access=Access(api_keys=("k" * 16,)))
    assert value_at(config, "models.a.b.n_ctx") == "auto"
    assert value_at(config, "models.a.b.preload") is True
    assert value_at(config, "server.idle_timeout") == "1m"
    assert value_at(config, "memory.reserve") == "128MiB"
    assert value_at(config, "access.api_keys") == ["k" * 16]
    assert value_at(config, "models.a.b")["file"] == "x.gguf"


def test_keys_are_only_shown_when_they_are_named() -> None:
    config = Config(access=Access(api_keys=("k" * 16,)))
    assert value_at(config, "access")["api_keys"] == "(1 not shown)"
    assert "kkk" not in str(value_at(config, ""))
    assert value_at(Config(), "access")["api_keys"] == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("models.minlm.n_ctx", "models.minlm: there is no such key; did you mean minilm"),
        ("server.prt", "server.prt: there is no such key; did you mean port"),
        ("server.port.x", "server.port.x: there is no such key; known: nothing"),
        ("xyz", "xyz: there is no such key; known: server, access"),
    ],
)
def test_a_path_that_there_is_not_is_refused_with_the_nearest(path: str, why: str) -> None:
    with pytest.raises(EdgedError, match=why):
        value_at(Config(models={"minilm": Model(file="x")}), path)


def test_a_file_is_replaced_in_one_step_and_keeps_owner_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "edged.yaml"
    file.write_text("server: {port: 1}\n")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    reader = file.open()
    with reader:
        write(file, "server: {port: 2}\n")
        assert reader.read() == "server: {port: 1}\n"
    after = file.stat()
    assert file.read_text() == "server: {port: 2}\n"
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (before.st_uid, before.st_gid, 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "edged.yaml"
    real.write_text("")
    link.symlink_to(real)
    write(link, "server: {port: 2}\n")
    assert link.is_symlink()
    assert load(real).server.port == 2


def test_a_file_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(EdgedError, match="cannot be written: No such file or directory"):
        write(tmp_path / "gone" / "edged.yaml", "")
    with pytest.raises(EdgedError, match="cannot be written"):
        write(tmp_path / "new.yaml", "")
    assert list(tmp_path.iterdir()) == []
