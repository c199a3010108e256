"""What is killed or hangs is replaced: a runner by the daemon, the daemon by systemd."""

import psutil

from tests.systemd.conftest import Lap
from tests.systemd.machine import wait_until
from tests.systemd.service import Service, hang, kill

WATCHED = "[Service]\nWatchdogSec=3\n"


def _wait_another_daemon(service: Service, before: psutil.Process) -> None:
    wait_until(lambda: not before.is_running(), service.journal_text)
    service.wait_active()
    assert service.daemon != before


def test_a_killed_runner_is_replaced_by_the_daemon(service: Service, lap: Lap) -> None:
    daemon, victim = service.daemon, service.runner("smollm2")
    other = service.runner("minilm")
    with lap("kill -9 of a runner until its model answers"):
        kill(victim)
        wait_until(lambda: not victim.is_running(), service.journal_text)
        service.wait_model("smollm2", lambda model: model["state"] != "ready" or model["restarts"] > 0)
        assert service.embed("the other model goes on") == 200
        assert service.chat("hello")[0] == 200
    assert service.daemon == daemon
    assert service.runner("minilm") == other
    assert service.runner("smollm2") != victim


def test_a_killed_daemon_is_replaced_by_systemd_and_its_runners_with_it(service: Service, lap: Lap) -> None:
    daemon, restarts = service.daemon, int(service.show("NRestarts"))
    runners = daemon.children()
    with lap("kill -9 of the daemon until the models answer"):
        kill(daemon)
        wait_until(lambda: not daemon.is_running(), service.journal_text)
        assert service.chat("asked while nobody is there")[0] == 200
        assert service.embed("asked while nobody is there") == 200
    assert service.daemon != daemon
    assert not any(runner.is_running() for runner in runners)
    assert int(service.show("NRestarts")) == restarts + 1


def test_a_hung_runner_is_replaced_by_the_daemon(service: Service, lap: Lap) -> None:
    service.configure(lambda config: config["loading"].update(hang_timeout="2s"))
    service.systemctl("restart", "edged")
    daemon, victim, after = service.daemon, service.runner("smollm2"), service.cursor()
    with lap("SIGSTOP of a runner until its model answers (hang_timeout: 2s)"):
        hang(victim)
        service.wait_model("smollm2", lambda model: model["restarts"] > 0 and model["state"] == "ready")
        assert service.chat("hello")[0] == 200
    assert not victim.is_running()
    assert service.daemon == daemon
    assert int(service.show("NRestarts")) == 0, "the daemon was alive, and systemd heard so"
    assert "runner_hung" in {entry.get("EVENT") for entry in service.journal(after)}


def test_a_hung_daemon_is_replaced_by_systemd(service: Service, lap: Lap) -> None:
    with service.drop_in(WATCHED):
        daemon = service.daemon
        runners = daemon.children()
        after = service.cursor()
        with lap("SIGSTOP of the daemon until the models answer (WatchdogSec=3)"):
            hang(daemon)
            _wait_another_daemon(service, daemon)
            assert service.chat("hello")[0] == 200
        assert not any(runner.is_running() for runner in runners)
        said = [entry["MESSAGE"] for entry in service.journal(after)]
        assert any("Watchdog timeout" in str(message) for message in said)


def test_a_daemon_at_work_is_left_alone_by_the_watchdog(service: Service) -> None:
    with service.drop_in(WATCHED):
        daemon = service.daemon
        for _ in range(3):  # each computes for longer than the watchdog waits on a slow machine
            assert service.chat("Count to one hundred.", max_tokens=128)[0] == 200
        assert service.daemon == daemon


def test_every_process_killed_at_once_comes_back(service: Service, lap: Lap) -> None:
    daemon = service.daemon
    with lap("kill -9 of daemon and runners at once until active"):
        service.systemctl("kill", "--signal=KILL", "edged.service")
        _wait_another_daemon(service, daemon)
    assert service.chat("hello")[0] == 200
