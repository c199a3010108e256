"""Combinations of settings that cannot work together, each as a sentence that says what to change."""

import ipaddress
import re
from collections.abc import Container, Iterator, Sequence

from edged.config.keys import BadKey, parse_key
from edged.config.schema import Access, Config, Model, Server

Finding = tuple[
    tuple[str, ...], str
]  # the paths that contradict each other (reported at the first), the reason

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/:@?#*\[\]\sA-Z]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")


def contradictions(config: Config, written: Container[str]) -> Iterator[Finding]:
    """Every impossible combination; `written` holds the paths set by the user, as opposed to defaults."""
    yield from _server(config)
    yield from _access(config.access)
    if config.loading.restart_backoff > config.loading.restart_backoff_max:
        yield (
            ("loading.restart_backoff", "loading.restart_backoff_max"),
            f"{config.loading.restart_backoff:g}s is longer than "
            f"restart_backoff_max ({config.loading.restart_backoff_max:g}s)",
        )
    for model_id, model in config.models.items():
        yield from _model(f"models.{model_id}", model, written)
        if not config.loading.prefetch and model.strategy in ("stream", "locked"):
            yield (
                (f"models.{model_id}.strategy", "loading.prefetch"),
                f"{model.strategy} reads the file ahead, which loading.prefetch forbids: "
                "set loading.prefetch to true or the strategy to lazy",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name that is not localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _server(config: Config) -> Iterator[Finding]:
    server = config.server
    if config.access.mode == "loopback" and not is_loopback(server.host):
        yield (
            ("server.host", "access.mode"),
            f'"{server.host}" listens to other machines, but access.mode loopback refuses them all: '
            "set access.mode to lan (or any, with api_keys), or server.host to 127.0.0.1",
        )
    if server.max_connections < server.max_requests:
        yield (
            ("server.max_connections", "server.max_requests"),
            f"{server.max_connections} connections cannot carry max_requests {server.max_requests}: "
            "every request needs one",
        )
    yield from _tls(server)


def _tls(server: Server) -> Iterator[Finding]:
    files = {"tls_certificate": server.tls_certificate, "tls_key": server.tls_key}
    for name, file in files.items():
        if file != "none" and not file.startswith(("/", "~")):
            yield (f"server.{name}",), f'expected the whole path of a PEM file, from / on, got "{file}"'
    if len(missing := [name for name, file in files.items() if file == "none"]) == 1:
        given = next(name for name in files if name not in missing)
        yield (
            (f"server.{missing[0]}", f"server.{given}"),
            f"none, but {given} is set: HTTPS needs both files; set this one as well, or both to none",
        )


def _access(access: Access) -> Iterator[Finding]:
    if access.mode == "any" and not access.api_keys:
        yield (
            ("access.mode", "access.api_keys"),
            "any lets the whole internet in and needs a key: make one with `edged key add NAME`",
        )
    if access.mode == "any" and access.keyless:
        yield (
            ("access.keyless", "access.mode"),
            "any lets the whole internet in, so all it does needs a key: remove keyless",
        )
    yield from _keys(access.api_keys)
    for index, host in enumerate(access.hosts):
        if any(character in host for character in "/: @?#"):
            yield (f"access.hosts[{index}]",), f'expected a bare host name such as edge.local, got "{host}"'
    for index, origin in enumerate(access.cors_origins):
        if not _ORIGIN.fullmatch(origin):
            yield (
                (f"access.cors_origins[{index}]",),
                "expected what a browser sends as Origin, scheme://host or scheme://host:port in lower case,"
                f' each page by itself, got "{origin}"',
            )


def _keys(lines: Sequence[str]) -> Iterator[Finding]:
    names = set()
    for index, line in enumerate(lines):
        path = f"access.api_keys[{index}]"
        try:
            name = parse_key(line).name
        except BadKey as problem:
            yield (path,), str(problem)
            continue
        if name in names:
            yield (path,), f"there is another key of the name {name}; remove one of them"
        if name is not None:
            names.add(name)


def _model(path: str, model: Model, written: Container[str]) -> Iterator[Finding]:
    n_ctx, n_batch, n_ubatch = model.n_ctx, model.n_batch, model.n_ubatch
    if n_ctx != "auto" and n_ctx < model.n_ctx_min and f"{path}.n_ctx_min" in written:
        yield (f"{path}.n_ctx", f"{path}.n_ctx_min"), f"{n_ctx} is below n_ctx_min ({model.n_ctx_min})"
    if n_batch != "auto" and n_ubatch != "auto" and n_ubatch > n_batch:
        yield (
            (f"{path}.n_ubatch", f"{path}.n_batch"),
            f"{n_ubatch} is above n_batch ({n_batch}), of which it is a part",
        )
    if n_batch != "auto" and model.n_seq_max != "auto" and n_batch < model.n_seq_max:
        yield (
            (f"{path}.n_batch", f"{path}.n_seq_max"),
            f"{n_batch} is below n_seq_max ({model.n_seq_max}): each sequence needs one token in every batch",
        )
    if model.kind in ("embed", "rank") and n_ctx != "auto" and n_ubatch != "auto" and n_ubatch < n_ctx:
        yield (
            (f"{path}.n_ubatch", f"{path}.n_ctx", f"{path}.kind"),
            f"{n_ubatch} is below n_ctx ({n_ctx}), but a model of kind {model.kind} computes a whole input "
            f"at once: set n_ubatch to {n_ctx} or more, or n_ctx to {n_ubatch} or less",
        )
    if model.strategy == "on_demand" and model.preload and f"{path}.preload" in written:
        yield (
            (f"{path}.preload", f"{path}.strategy"),
            "true contradicts strategy on_demand, which loads at the first request: remove one of the two",
        )
    if model.pinned and model.keep_alive not in ("auto", "never"):
        yield (
            (f"{path}.keep_alive", f"{path}.pinned"),
            "a pinned model is never unloaded when it is idle: remove keep_alive, or set pinned to false",
        )
    if model.strategy in ("lazy", "stream") and model.repack is True:
        yield (
            (f"{path}.repack", f"{path}.strategy"),
            f"true contradicts strategy {model.strategy}: "
            "repacking reads all weights before the model is ready; set repack to false or strategy to warm",
        )
