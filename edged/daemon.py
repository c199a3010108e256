"""The composition root: builds everything in order, and owns the order of shutdown. No logic of its own."""

import logging
import time

from edged.config.paths import state_dir
from edged.config.schema import Config
from edged.lifecycle.calibration import Calibration
from edged.lifecycle.planner import planner
from edged.lifecycle.pool import Pool
from edged.lifecycle.prefixes import remove_unused
from edged.lifecycle.record import Record
from edged.lifecycle.repack_gain import GainMeter
from edged.service.bind import bind
from edged.service.journal import configure
from edged.service.notify import notify
from edged.service.server import Limits, Server
from edged.service.signals import Signals

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises PortTaken or ConfigError before anything is started.
    """
    configure(config.logging.level, config.logging.format)
    record = Record(Calibration.load(state_dir(config) / "calibration.json"))
    with Signals() as signals:
        server = Server(bind(config.server.host, config.server.port), _limits(config))
        server.start()
        print(f"edged: listening on {server.url}", flush=True)
        pool = None
        meter = GainMeter(record.repack_gain)
        try:
            pool = _start(config, server, record, meter)
            log.info("%s: shutting down", signals.wait_for_stop().name)
        finally:
            meter.close()
            _stop(config, server, pool)
            record.close()


def _start(config: Config, server: Server, record: Record, meter: GainMeter) -> Pool:
    """Measure, plan, begin to load; only then build the application, whose imports would delay the loads."""

    def started() -> None:
        notify(ready=True, status="serving")
        meter.begin(pool.repack_work())

    pool = Pool(config, planner(config, record.measured, record.planned_on), record)
    try:
        pool.when_wanted = meter.interrupt
        pool.start()
        remove_unused(config)
        from edged.api.app import create_app
        from edged.telemetry.metrics import Metrics

        metrics = Metrics()
        metrics.watch(pool.statuses)
        record.count_with(metrics)
        server.set_app(create_app(pool, config, metrics))
        pool.when_started(started)
    except BaseException:
        pool.close()
        raise
    return pool


def _stop(config: Config, server: Server, pool: Pool | None) -> None:
    """Refuse new work (503) while what runs ends, within one deadline; then stop the runners."""
    notify(stopping=True, status="draining")
    deadline = time.monotonic() + config.server.drain_timeout
    if pool is not None:
        pool.draining = True
        server.drain(config.server.drain_timeout)
    server.close(max(0.0, deadline - time.monotonic()))
    if pool is not None:
        pool.close()
    log.info("stopped")


def _limits(config: Config) -> Limits:
    server = config.server
    return Limits(
        max_requests=server.max_requests,
        max_connections=server.max_connections,
        max_body_bytes=server.max_body,
        header_timeout_s=server.header_timeout,
        idle_timeout_s=server.idle_timeout,
    )
