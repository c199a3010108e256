"""No request is lost while the service restarts, and no answer is cut off when it stops."""

import pytest

from tests.systemd.clients import SteadyLoad, Stream
from tests.systemd.conftest import Lap
from tests.systemd.machine import wait_until
from tests.systemd.service import Service


def test_a_restart_under_load_loses_no_request(service: Service, lap: Lap) -> None:
    with SteadyLoad(service) as load:
        load.wait_more(50)
        for _ in range(2):
            daemon = service.daemon
            with lap("systemctl restart under a steady load of 4 clients"):
                service.systemctl("restart", "edged")
            assert service.daemon != daemon
            load.wait_more(50)
    assert load.failures == []


def test_a_restart_lets_streams_end_and_others_wait(service: Service) -> None:
    streams = [Stream(service, 150) for _ in range(3)]
    for stream in streams:
        stream.wait_begun()
    service.systemctl("restart", "--no-block", "edged")
    assert service.embed("asked while it drains") == 200
    for stream in streams:
        stream.join()
        assert (stream.failure, stream.is_whole) == (None, True)


def test_a_stop_cuts_no_stream(service: Service, lap: Lap) -> None:
    streams = [Stream(service, 150) for _ in range(3)]
    for stream in streams:
        stream.wait_begun()
    assert all(stream.is_under_way for stream in streams)
    with lap("systemctl stop with 3 streams of 150 tokens under way"):
        service.systemctl("stop", "edged")
    for stream in streams:
        stream.join()
        assert (stream.failure, stream.is_whole) == (None, True)
        assert stream.finish in ("stop", "length")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"


def test_a_stopped_service_refuses_and_starts_again(service: Service, lap: Lap) -> None:
    with lap("systemctl stop, idle"):
        service.systemctl("stop", "edged")
    wait_until(lambda: service.show("ActiveState", "edged.socket") == "inactive", service.journal_text)
    with pytest.raises(ConnectionRefusedError):
        service.call("GET", "/livez")
    service.systemctl("start", "edged")
    assert service.call("GET", "/readyz")[0] == 200
