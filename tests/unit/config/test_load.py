"""Every way a configuration can be wrong ends in one ConfigError that says where, what and how to fix it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config import load as load_module
from edged.config.load import load
from edged.config.schema import Config, Model
from edged.errors import ConfigError

Write = Callable[[str | bytes], Path]


@pytest.fixture(name="write")
def _write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes edged.yaml in the working directory, so that messages hold a short name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> Path:
        raw = content if isinstance(content, bytes) else content.encode()
        Path("edged.yaml").write_bytes(raw)
        return Path("edged.yaml")

    return write


def problems_of(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_empty_file_is_all_defaults(write: Write) -> None:
    assert load(write("")) == Config()
    assert load(write("# nothing but a comment\n")) == Config()
    assert load(write("server:\nmodels:\naccess:\n  api_keys:\n")) == Config()


def test_values_are_read_by_the_type_that_is_expected(write: Write) -> None:
    config = load(
        write(
            """
            server: {host: "::1", port: 0, max_body: 1.5MiB, drain_timeout: 500ms, request_timeout: 1h}
            access: {api_keys: ["0123456789abcdef"], hosts: [edge.local]}
            memory: {budget: 300 MB, reserve: 0}
            loading: {prefetch: off, load_timeout: 1.5m}
            models:
              minilm: {file: minilm.gguf, n_ctx: 256, repack: no, preload: FALSE}
              qwen2.5-0.5b: {file: /srv/q.gguf, repack: auto, type_k: q8_0}
            """
        )
    )
    assert (config.server.host, config.server.port, config.server.max_body) == ("::1", 0, 1_572_864)
    assert (config.server.drain_timeout, config.server.request_timeout) == (0.5, 3600.0)
    assert config.access.api_keys == ("0123456789abcdef",)
    assert (config.memory.budget, config.memory.reserve) == (300_000_000, 0)
    assert (config.loading.prefetch, config.loading.load_timeout) == (False, 90.0)
    assert config.models["minilm"] == Model(file="minilm.gguf", n_ctx=256, repack=False, preload=False)
    assert list(config.models) == ["minilm", "qwen2.5-0.5b"]


def test_all_problems_are_reported_at_once(write: Write) -> None:
    path = write(
        """
        server: {port: many, max_body: 8 parsecs}
        models:
          minilm: {file: minilm.gguf, n_ctx: lots}
          smollm2: {file: smollm2.gguf, stratgy: lazy}
        """
    )
    assert problems_of(path, "loading.prefetch=maybe") == (
        'edged.yaml: server.port: expected an integer from 0 to 65535, got "many"',
        'edged.yaml: server.max_body: expected a size such as 512MiB from 1 KiB to 64 MiB, got "8 parsecs"',
        'edged.yaml: models.minilm.n_ctx: expected a positive integer, got "lots" (or write auto)',
        "edged.yaml: models.smollm2.stratgy: unknown key (did you mean strategy?); known: file, kind, "
        "strategy, preload, pinned, keep_alive, repack, n_ctx, n_ctx_min, n_seq_max, n_batch, n_ubatch, "
        "n_threads, type_k, type_v, max_queue_requests, max_queue_tokens, step_time, speculation, "
        "prefix_cache, matryoshka",
        '--set loading.prefetch: expected true or false, got "maybe"',
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("servr: {}", "servr: unknown key (did you mean server?)"),
        ("server: [1]", "server: expected a mapping of keys to values, got a list"),
        ("server: 8080", "server: expected a mapping of keys to values, got a number"),
        ("- server", "edged.yaml: expected a mapping of keys to values, got a list"),
        ("just words", "edged.yaml: expected a mapping of keys to values, got 10 characters"),
        ("server: {port: 08080}", "server.port: expected an integer from 0 to 65535, got"),
        ("server: {port: 010}", "server.port: expected an integer from 0 to 65535, got 010"),
        ("server: {port: 0x1F90}", "server.port: expected an integer from 0 to 65535, got 0x1F90"),
        ("server: {port: 1:30}", "server.port: expected an integer from 0 to 65535, got 1:30"),
        ("server: {port: 8_080}", "server.port: expected an integer from 0 to 65535, got 8_080"),
        ("server: {port: -1}", "server.port: expected an integer from 0 to 65535, got -1"),
        ("server: {port: 70000}", "server.port: expected an integer from 0 to 65535, got 70000"),
        ("server: {port: 80.0}", "server.port: expected an integer from 0 to 65535, got 80.0"),
        ("server: {port: .inf}", "server.port: expected an integer from 0 to 65535, got .inf"),
        ("server: {port: .nan}", "server.port: expected an integer from 0 to 65535, got .nan"),
        ("server: {port: true}", "server.port: expected an integer from 0 to 65535, got true"),
        ("server: {port: }", "server.port: expected an integer from 0 to 65535, got nothing"),
        ("server: {port: ~}", "server.port: expected an integer from 0 to 65535, got nothing"),
        ('server: {port: "8080"}', 'got "8080" (leave the quotes out)'),
        ("server: {port: " + "9" * 5000 + "}", "server.port: expected an integer from 0 to 65535, got 9999"),
        ("server: {host: no}", "server.host: expected text, got no (put it in quotes)"),
        ("server: {host: 12.5}", "server.host: expected text, got 12.5 (put it in quotes)"),
        ("server: {host: 2026-01-01}", "server.host: expected text, got 2026-01-01 (put it in quotes)"),
        ('server: {host: ""}', 'server.host: expected text, got ""'),
        ('server: {host: "a\\nb"}', 'server.host: expected text, got "a\\nb"'),
        ("server: {drain_timeout: 10}", "got 10 (a unit is missing: 10s?)"),
        ("server: {drain_timeout: 1:30}", "server.drain_timeout: expected a duration such as 500ms"),
        ("server: {drain_timeout: 10 seconds}", "server.drain_timeout: expected a duration such as 500ms"),
        ("server: {drain_timeout: .inf}", "server.drain_timeout: expected a duration such as 500ms"),
        ("server: {drain_timeout: 25h}", "server.drain_timeout: expected a duration such as 500ms"),
        ("server: {header_timeout: 0s}", "server.header_timeout: expected a duration such as 500ms"),
        ("memory: {reserve: 1.5}", "memory.reserve: expected a size such as 512MiB"),
        ("memory: {reserve: 10.3B}", "memory.reserve: expected a size such as 512MiB"),
        ("memory: {reserve: -1MiB}", "memory.reserve: expected a size such as 512MiB"),
        ("memory: {reserve: 512mib}", "memory.reserve: expected a size such as 512MiB"),
        ("memory: {budget: 10KiB}", "memory.budget: expected a size such as 512MiB of at least 1 MiB"),
        ("memory: {budget: Auto}", "(or write auto)"),
        (
            "access: {mode: lann}",
            'access.mode: expected one of loopback, lan, any, got "lann" (did you mean lan?)',
        ),
        ("access: {api_keys: yes}", "access.api_keys: expected a list, got a number or other plain value"),
        ("access: {hosts: {a: b}}", "access.hosts: expected a list, got a mapping"),
        ("access: {hosts: [[a]]}", "access.hosts[0]: expected text, got a list"),
        ("access: {hosts: [http://a]}", "access.hosts[0]: expected a bare host name"),
        ("access: {hosts: ['a:8080']}", "access.hosts[0]: expected a bare host name"),
        ("models: {Big: {file: a}}", "models.Big: a name has lower-case letters"),
        ("models: {../x: {file: a}}", "models.../x: a name has lower-case letters"),
        ('models: {"a\\nb": {file: a}}', 'models."a\\nb": a name has lower-case letters'),
        ("models: {a: }", "models.a.file: is required and missing"),
        (
            "models: {a: {file: x, n_seq_max: 65}}",
            "models.a.n_seq_max: expected an integer from 1 to 64, got 65",
        ),
        ("models: {a: {file: x, n_ctx: 0}}", "models.a.n_ctx: expected a positive integer, got 0"),
        ("models: {a: {file: x, <<: {kind: embed}}}", "models.a.<<: unknown key"),
        ("models: {a: {file: x}, a: {file: y}}", "models.a: is given twice; keep one"),
        ("server: {port: 1}\nserver: {port: 2}", "server: is given twice; keep one"),
    ],
)
def test_wrong_value(write: Write, text: str, problem: str) -> None:
    (found,) = problems_of(write(text))
    assert found.startswith("edged.yaml: ")
    assert problem in found
    assert len(found) < 400
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server: {port: 1", "line 2, column 1: did not find expected"),
        ("server:\n\tport: 1", "line 2, column 1: "),
        ("server: @x", "line 1, column 9: "),
        (
            "server: !!python/object:os.system {}",
            "line 1, column 9: tags (tag:yaml.org,2002:python/object:os.system)",
        ),
        ("server: {port: !!python/name:os.system 1}", "tags (tag:yaml.org,2002:python/name:os.system)"),
        ("server: {host: !!binary aGk=}", "tags (tag:yaml.org,2002:binary) are not supported"),
        ("server: {host: !secret x}", "tags (!secret) are not supported"),
        ("a: &a {}\nserver: *a", "line 2, column 9: aliases (*a) are not supported"),
        ("server: {}\n---\nserver: {}", "line 2, column 1: a second document (---) starts here"),
        ("? [a]\n: b", "line 1, column 3: a key must be plain text"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 12 levels deep"),
        ("server: {host: \x07}", "edged.yaml: "),
    ],
)
def test_not_yaml(write: Write, text: str, problem: str) -> None:
    (found,) = problems_of(write(text))
    assert found.startswith("edged.yaml: ")
    assert problem in found
    assert "\n" not in found


def test_billion_laughs_is_refused_at_the_first_alias(write: Write) -> None:
    rows = [f"l{i}: &l{i} [{','.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 20)]
    (problem,) = problems_of(write("l0: &l0 [lol]\n" + "\n".join(rows)))
    assert problem == "edged.yaml: line 2, column 10: aliases (*l0) are not supported"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"server:\n  host: \xff\xfe", "edged.yaml: line 2: not UTF-8 text; save the file as UTF-8"),
        ("server: {}".encode("utf-16"), "edged.yaml: line 1: not UTF-8 text; save the file as UTF-8"),
        (b"#" * (1 << 20) + b"#", "edged.yaml: larger than 1 MiB, which is no configuration"),
    ],
)
def test_not_text(write: Write, content: bytes, problem: str) -> None:
    assert problems_of(write(content)) == (problem,)


def test_byte_order_mark_is_no_problem(write: Write) -> None:
    assert load(write("server: {port: 1}".encode("utf-8-sig"))).server.port == 1


def test_file_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    assert problems_of(Path("missing.yaml")) == ("missing.yaml: no such file",)
    assert problems_of(tmp_path) == (f"{tmp_path}: is a folder; name the file in it",)
    assert problems_of(Path("a\0b")) == ("a\0b: cannot be read: embedded null byte",)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert problems_of(loop) == (f"{loop}: cannot be read: Too many levels of symbolic links",)


def test_no_permission(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("")
    path.chmod(0)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    if os.access(path, os.R_OK):  # root may read anything, so the refusal is put in
        monkeypatch.setattr(Path, "open", refuse)
    assert problems_of(path) == ("edged.yaml: cannot be read: Permission denied",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("access: {mode: any}", "access.mode: any lets the whole internet in"),
        (
            "server: {host: 0.0.0.0}",
            'server.host: "0.0.0.0" listens to other machines, but access.mode loopback',
        ),
        ("server: {host: edge.local}", 'server.host: "edge.local" listens to other machines'),
        ("server: {max_requests: 20, max_connections: 10}", "server.max_connections: 10 connections cannot"),
        ("server: {tls_certificate: /c.pem}", "server.tls_key: none, but tls_certificate is set"),
        ("server: {tls_key: /k.pem}", "server.tls_certificate: none, but tls_key is set"),
        (
            "server: {tls_certificate: c.pem, tls_key: /k.pem}",
            'server.tls_certificate: expected the whole path of a PEM file, from / on, got "c.pem"',
        ),
        (
            "loading: {restart_backoff: 2m}",
            "loading.restart_backoff: 120s is longer than restart_backoff_max (60s)",
        ),
        (
            "models: {a: {file: x, n_ctx: 100, n_ctx_min: 200}}",
            "models.a.n_ctx: 100 is below n_ctx_min (200)",
        ),
        ("models: {a: {file: x, n_batch: 64, n_ubatch: 65}}", "models.a.n_ubatch: 65 is above n_batch (64)"),
        ("models: {a: {file: x, n_batch: 8, n_seq_max: 9}}", "models.a.n_batch: 8 is below n_seq_max (9)"),
        (
            "loading: {prefetch: false}\nmodels: {a: {file: x, strategy: stream}}",
            "models.a.strategy: stream reads the file ahead, which loading.prefetch forbids",
        ),
        (
            "models: {a: {file: x, kind: embed, n_ctx: 512, n_ubatch: 256}}",
            "models.a.n_ubatch: 256 is below n_ctx (512), but a model of kind embed",
        ),
        (
            "models: {a: {file: x, strategy: on_demand, preload: true}}",
            "models.a.preload: true contradicts strategy on_demand",
        ),
        (
            "models: {a: {file: x, strategy: lazy, repack: true}}",
            "models.a.repack: true contradicts strategy lazy",
        ),
        (
            "access: {api_keys: ['nötig nötig nötig nötig']}",
            "access.api_keys[0]: a key travels in an HTTP header",
        ),
        (
            "access: {api_keys: [tablet use 0123456789abcdef, tablet pull fedcba9876543210]}",
            "access.api_keys[1]: there is another key of the name tablet",
        ),
        (
            "access: {mode: any, api_keys: [0123456789abcdef], keyless: [metrics]}",
            "access.keyless: any lets the whole internet in",
        ),
        ("access: {cors_origins: [ui.example]}", "access.cors_origins[0]: expected what a browser sends"),
        ('access: {cors_origins: ["*"]}', "access.cors_origins[0]: expected what a browser sends"),
        ("access: {cors_origins: [https://ui.example/]}", "access.cors_origins[0]: expected what a browser"),
        ("access: {cors_origins: [https://UI.example]}", "access.cors_origins[0]: expected what a browser"),
    ],
)
def test_impossible_combination(write: Write, text: str, problem: str) -> None:
    (found,) = problems_of(write(text))
    assert found.startswith(f"edged.yaml: {problem}")


@pytest.mark.parametrize(
    "text",
    [
        "server: {host: localhost}",
        'server: {host: "::1"}',
        "server: {host: 127.8.8.8}",
        "server: {host: 0.0.0.0}\naccess: {mode: lan}",
        "access: {mode: any, api_keys: [0123456789abcdefg]}",
        "models: {a: {file: x, n_ctx: 256}}",  # n_ctx_min is 512 by default, which nobody asked for
        "models: {a: {file: x, strategy: on_demand}}",
        "models: {a: {file: x}, b: {file: x}}",
        "access: {api_keys: [0123456789abcdef], keyless: [use, metrics]}",
        "access: {cors_origins: [https://ui.example, 'http://[::1]:3000', app://obsidian.md]}",
    ],
)
def test_possible_combination(write: Write, text: str) -> None:
    assert load(write(text)) != Config()


def test_a_wrong_value_is_not_reported_again_as_a_contradiction(write: Write) -> None:
    path = write(
        "server: {host: 0.0.0.0}\naccess: {mode: lann}\nmodels: {a: {file: x, n_batch: 8, n_ubatch: many}}"
    )
    assert [problem.split(": ")[1] for problem in problems_of(path)] == ["access.mode", "models.a.n_ubatch"]
    (problem,) = problems_of(write("access: {mode: any, api_keys: [short]}"))
    assert "access.api_keys[0]" in problem


@pytest.mark.parametrize(
    "text",
    [
        "access: {api_keys: [hunter2]}",
        "access: {api_keys: hunter2}",
        "access: {api_keys: {key: hunter2}}",
        "access: {api_keys: [[hunter2]]}",
        "access: {api_kesy: [hunter2]}",
        "access: [hunter2]",
        "access: hunter2",
        'access: {api_keys: ["hunter2 with a space"]}',
    ],
)
def test_keys_are_never_shown(write: Write, text: str) -> None:
    assert "hunter2" not in "".join(problems_of(write(text)))
    value = text.removeprefix("access: ")
    assert "hunter2" not in "".join(problems_of(write(""), f"access={value}"))


def test_keys_are_not_in_the_representation(write: Write) -> None:
    config = load(write("access: {api_keys: [0123456789abcdefg]}"))
    assert "0123456789abcdefg" not in repr(config)
    assert "0123456789abcdefg" not in f"{config.access}"


def test_overrides(write: Write) -> None:
    path = write("server: {port: 1}\nmodels: {smollm2: {file: a.gguf}}")
    config = load(
        path,
        [
            "server.port=0",
            "memory.budget=512MiB",
            "models.smollm2.strategy=lazy",
            "models.new.file=new.gguf",
            "access={mode: any, api_keys: [0123456789abcdefg]}",
            "access.hosts=[edge.local, box]",
            "server.host= ::1",
        ],
    )
    assert (config.server.port, config.server.host) == (0, "::1")
    assert config.memory.budget == 512 << 20
    assert config.models["smollm2"] == Model(file="a.gguf", strategy="lazy")
    assert config.models["new"] == Model(file="new.gguf")
    assert config.access.hosts == ("edge.local", "box")


@pytest.mark.parametrize(
    ("model_ids", "override", "changed"),
    [
        (["gemma3-270m"], "models.gemma3-270m.n_ctx=7", "gemma3-270m"),
        (["qwen2.5"], "models.qwen2.5.n_ctx=7", "qwen2.5"),
        (["qwen2", "qwen2.5"], "models.qwen2.5.n_ctx=7", "qwen2.5"),
        (["qwen2.5", "qwen2.5.n_ctx"], "models.qwen2.5.n_ctx.n_ctx=7", "qwen2.5.n_ctx"),
        (["qwen2.5"], "models.qwen2.5={file: f, n_ctx: 7}", "qwen2.5"),
        (["a"], "models.a.b.c={file: f, n_ctx: 7}", None),
    ],
)
def test_model_names_with_dots(
    write: Write, model_ids: list[str], override: str, changed: str | None
) -> None:
    path = write("models: {" + ", ".join(f"{model_id}: {{file: f}}" for model_id in model_ids) + "}")
    if changed is None:
        assert problems_of(path, override)[0].startswith("--set models.a.b.c: unknown key")
        return
    models = load(path, [override]).models
    assert {model_id for model_id, model in models.items() if model.n_ctx == 7} == {changed}
    assert list(models) == model_ids


def test_new_model_with_dots(write: Write) -> None:
    assert load(write(""), ["models.qwen2.5.file=q.gguf"]).models == {"qwen2.5": Model(file="q.gguf")}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("server.port", "--set server.port: expected key.path=value"),
        ("=1", "--set …: expected key.path=value"),
        ("", "--set …: expected key.path=value"),
        ("server.port=", "--set server.port: expected an integer from 0 to 65535, got nothing"),
        ("server.port=lots", '--set server.port: expected an integer from 0 to 65535, got "lots"'),
        ("server.prot=1", "--set server.prot: unknown key (did you mean port?)"),
        ("port=1", "--set port: unknown key"),
        ("server=1", "--set server: expected a mapping"),
        ("server.port.x=1", "--set server.port: expected an integer from 0 to 65535, got a mapping"),
        ("server.port={", "--set server.port: the value is no YAML: line 2, column 1: did"),
        ("server={port: 1, port: 2}", "--set server.port: is given twice; keep one"),
        ("models.smollm2.strategy=lazzy", "--set models.smollm2.strategy: expected one of auto, warm"),
        ("models.smollm2.kind=on_demand", "--set models.smollm2.kind: expected one of auto, generate, embed"),
        ("models.=1", "--set models.: a name has lower-case letters"),
        ("models.tiny.n_ctx=5", "--set models.tiny.file: is required and missing"),
        ("server.host=0.0.0.0", '--set server.host: "0.0.0.0" listens to other machines'),
        ("access.mode=any", "--set access.mode: any lets the whole internet in"),
        ("models.smollm2.n_batch=8", "of which it is a part (models.smollm2.n_batch comes from --set)"),
    ],
)
def test_wrong_override(write: Write, override: str, problem: str) -> None:
    path = write("models: {smollm2: {file: a.gguf, n_ubatch: 16}}")
    (found,) = problems_of(path, override)
    assert problem in found
    assert "\n" not in found


def test_override_of_a_file_that_is_no_mapping(write: Write) -> None:
    assert problems_of(write("[1]"), "server.port=2") == (
        "edged.yaml: expected a mapping of keys to values, got a list",
    )


def test_standard_places(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc.yaml"
    monkeypatch.setattr(load_module, "SYSTEM_FILE", system)
    monkeypatch.delenv("EDGED_CONFIG", raising=False)
    with pytest.raises(
        ConfigError, match=r"no configuration: \$EDGED_CONFIG is not set and .*etc.yaml does not"
    ):
        load(None)
    system.write_text("server: {port: 1}")
    assert load(None).server.port == 1
    monkeypatch.setenv("EDGED_CONFIG", str(write("server: {port: 2}")))
    assert load(None).server.port == 2
    # A file that was named must not be passed over in silence.
    monkeypatch.setenv("EDGED_CONFIG", "gone.yaml")
    with pytest.raises(ConfigError, match=r"gone.yaml: no such file"):
        load(None)


_PIECES = (
    "server port models a file n_ctx access api_keys auto 5 5s { [ ] } : ' \" &x *x !!str !x%0A # ~ | > %"
)
_words = st.sampled_from([*_PIECES.split(), ": ", ", ", "---", "\n", "\n  ", "- ", "\t", "\u2028", "\x85"])


@given(st.lists(_words | st.text(max_size=3), max_size=30).map("".join))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_config_or_a_config_error(write: Write, text: str) -> None:
    path = write(text.encode("utf-8", "surrogatepass"))
    try:
        load(path, [text])
    except ConfigError as error:
        problems = error.problems
        assert problems
        assert all(problem.isprintable() for problem in problems)
