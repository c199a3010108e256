"""The composition root: builds everything in order, and owns the order of shutdown. No logic of its own."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from edged import __version__
from edged.config.keys import new_key
from edged.config.paths import state_dir, tls_files
from edged.config.schema import Config
from edged.config.source import Source
from edged.lifecycle.briefing import Briefing
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import planner, replanner
from edged.lifecycle.pool import Pool
from edged.lifecycle.prefixes import remove_unused
from edged.lifecycle.pressure import PressureWatch
from edged.lifecycle.pulled import Pulled
from edged.lifecycle.pulls import Pulls
from edged.lifecycle.record import Record
from edged.lifecycle.relief import Relief
from edged.lifecycle.reload import Origins, Reload
from edged.lifecycle.repack_gain import GainMeter
from edged.lifecycle.start import failure, gets_on
from edged.service.activation import Listening, listen
from edged.service.allocation import give_back_large_blocks
from edged.service.control import Control
from edged.service.journal import configure
from edged.service.notify import notify
from edged.service.reloading import Reloading
from edged.service.server import Limits, Server
from edged.service.signals import Signals
from edged.service.watch import News, Watch

if TYPE_CHECKING:
    from edged.service.certificate import Certificate

log = logging.getLogger(__name__)

_ANSWER_S = 5.0  # for our own request, on a machine that is busy
_STOP_S = 30.0  # for what follows the drain: runners end, and keep hot prefixes


def run(config: Config, source: Source) -> None:
    """Serve until SIGTERM or SIGINT, then drain. SIGHUP and `edged reload` apply what `source` holds then.

    Raises PortTaken or ConfigError before anything is started, NoModelLoaded or RunnerFailed when no model
    comes up.
    """
    configure(config.logging.level, config.logging.format)
    give_back_large_blocks()
    certificate = _certificate(config)
    origins = Origins(config, source.read, Pulled.of(config))
    config = origins.pulled.added_to(config)
    record = Record(Calibration.load(state_dir(config) / "calibration.json"))
    administrators_key = new_key()
    with Signals() as signals:
        listening = listen(config.server.host, config.server.port)
        server = Server(listening.sock, _limits(config))
        server.set_tls(certificate.secure if certificate else None)
        server.start()
        print(f"edged: listening on {server.url}", flush=True)
        log.info("edged %s has started", __version__, extra={"EVENT": "started"})
        notify(status="measuring this machine")
        serving = control = pressure = None
        meter = GainMeter(record.repack_gain)
        try:
            serving = _start(config, server, record, meter, origins, administrators_key)
            pool = serving.pool
            pressure = PressureWatch(Relief(pool), record, publish=pool.feed.publish)
            pressure.start()
            reloading = Reloading(serving.reload.run, lambda: not pool.is_starting)
            control = Control(
                {"reload": reloading.run, "url": lambda: server.url},
                {"keys": source.take_keys, "key": lambda _: administrators_key},
            )
            control.open()
            watch = Watch(signals, _news(pool, reloading, pressure), _what_is_dead(server, pool, pressure))
            log.info("%s: shutting down", watch.until_stop(reloading.begin).name)
        finally:
            if control is not None:
                control.close()
            if pressure is not None:
                pressure.close()
            meter.close()
            _stop(serving.pool.config if serving is not None else config, listening, server, serving)
            record.close()


class _Serving(NamedTuple):
    """What serves, and what changes that."""

    pool: Pool
    reload: Reload
    pulls: Pulls


def _start(
    config: Config,
    server: Server,
    record: Record,
    meter: GainMeter,
    origins: Origins,
    administrators_key: str,
) -> _Serving:
    """Measure, plan, begin to load; only then build the application, whose imports would delay the loads."""

    def started() -> None:
        # with the line of now: the next look is a second away, and `systemctl start` returns at once
        notify(ready=True, status=Briefing().line(pool.statuses()))
        log.info("ready", extra={"EVENT": "ready"})
        meter.begin(pool.repack_work())

    plan = planner(config, record.measured, record.planned_on)
    pool = Pool(config, plan, record, replanner(record.measured, record.planned_on))
    reload = _reload(pool, server, record, origins)
    pulls = Pulls(origins.pulled, lambda: pool.config, reload.serve_pulled)
    try:
        pool.when_wanted = meter.interrupt
        pool.start()
        remove_unused(config)
        from edged.api.app import create_app
        from edged.telemetry.metrics import Metrics

        metrics = Metrics()
        metrics.watch(pool.statuses)
        metrics.watch_memory(lambda: pool.admission.account.by_kind())
        record.count_with(metrics)
        server.set_app(create_app(pool, metrics, pulls, administrators_key))
        pool.when_started(started)
    except BaseException:
        pool.close()
        raise
    return _Serving(pool, reload, pulls)


def _reload(pool: Pool, server: Server, record: Record, origins: Origins) -> Reload:
    """What applies a changed configuration; access and limits of requests follow the pool's."""

    def settle(config: Config) -> tuple[str, ...]:
        certificate = _certificate(config)
        configure(config.logging.level, config.logging.format)
        server.set_limits(_limits(config))
        server.set_tls(certificate.secure if certificate else None)
        return (f"the certificate is {certificate.text}",) if certificate else ()

    return Reload(pool, origins, replanner(record.measured, record.planned_on), settle)


def _news(pool: Pool, reloading: Reloading, pressure: PressureWatch) -> Callable[[], News]:
    """What to tell systemd. What it returns raises when the start has failed."""
    briefing = Briefing()

    def news() -> News:
        statuses = pool.statuses()
        starting = pool.is_starting
        if starting and (why := failure(statuses)) is not None:
            raise why
        loading = pool.config.loading
        # a runner that hangs is replaced after hang_timeout, and that may take its time as well
        longer_s = loading.hang_timeout + loading.restart_backoff_max + _STOP_S
        busy = reloading.running or (starting and gets_on(statuses))
        line = "; ".join(filter(None, [briefing.line(statuses), pressure.text, reloading.outcome]))
        return News(line, starting=starting, extend_timeout_s=longer_s if busy else None)

    return news


def _what_is_dead(server: Server, pool: Pool, pressure: PressureWatch) -> Callable[[], str | None]:
    def what_is_dead() -> str | None:
        if not pool.is_supervised:
            return "a runner's supervisor has stopped"
        if not pressure.is_kept:
            return "nobody watches the memory any more"
        return None if server.answers(_ANSWER_S) else f"HTTP has not answered within {_ANSWER_S:g} s"

    return what_is_dead


def _stop(config: Config, listening: Listening, server: Server, serving: _Serving | None) -> None:
    """Let what runs end within one deadline, then stop the runners.

    New connections wait in systemd's socket for the next edged, if it has one; else they are refused (503).
    """
    drain_s = config.server.drain_timeout
    log.info("draining", extra={"EVENT": "draining"})
    notify(stopping=True, status="draining", extend_timeout_s=drain_s + _STOP_S)
    deadline = time.monotonic() + drain_s
    if serving is not None:
        serving.pool.feed.close()  # who follows it, or a pull, would hold up the drain
        serving.pulls.close()
        serving.pool.draining = not listening.activated
        server.retire(keep_accepting=not listening.activated)
        server.drain(drain_s, _tell_draining)
        serving.pool.draining = True
    server.close(max(0.0, deadline - time.monotonic()))
    notify(status="stopping the models' runners")
    if serving is not None:
        serving.pool.close()
    log.info("stopped", extra={"EVENT": "stopped"})


def _tell_draining(n_requests: int) -> None:
    what = "1 request" if n_requests == 1 else f"{n_requests} requests"
    notify(status=f"draining {what}", watchdog=True)


def _certificate(config: Config) -> "Certificate | None":
    """What connections are secured with, read anew. Raises ConfigError."""
    files = tls_files(config)
    if files is None:
        return None
    from edged.service.certificate import load

    certificate = load(*files)
    if certificate.fault:
        log.warning("server.tls_certificate: %s: %s", files[0], certificate.text)
    if certificate.exposed:
        log.warning("server.tls_key: %s: everybody on this machine can read it: chmod o-r", files[1])
    return certificate


def _limits(config: Config) -> Limits:
    server = config.server
    return Limits(
        max_requests=server.max_requests,
        max_connections=server.max_connections,
        max_body_bytes=server.max_body,
        header_timeout_s=server.header_timeout,
        idle_timeout_s=server.idle_timeout,
        answer_timeout_s=server.request_timeout,
    )
