"""What a restart cannot cure ends the service with a code that says what it was, and is not tried again."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.systemd.machine import wait_until
from tests.systemd.service import PORT, Service


def _fails_with(service: Service, code: int) -> list[str]:
    """The service cannot start, and stays as it is; returns what it said."""
    after = service.cursor()
    assert service.systemctl("restart", "edged", check=False) != 0
    assert service.show("ActiveState") == "failed"
    assert service.show("ExecMainStatus") == str(code)
    assert service.show("NRestarts") == "0"
    return [str(entry["MESSAGE"]) for entry in service.journal(after)]


def _without_files(config: dict[str, Any]) -> None:
    for name, model in config["models"].items():
        model["file"] = f"no-{name}.gguf"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        pytest.param(lambda config: config["server"].update(port="lots"), 2, "server.port", id="config"),
        pytest.param(_without_files, 4, "no-smollm2.gguf", id="models"),
    ],
)
def test_a_mistake_in_the_configuration(
    service: Service, change: Callable[[dict[str, Any]], object], code: int, said: str
) -> None:
    original = service.config_file.read_text()
    service.configure(change)
    assert any(said in line for line in _fails_with(service, code))
    service.config_file.write_text(original)
    service.systemctl("restart", "edged")
    assert service.chat("hello")[0] == 200


def test_one_model_that_cannot_be_loaded_does_not_keep_the_other_from_serving(service: Service) -> None:
    service.configure(lambda config: config["models"]["smollm2"].update(file="none.gguf"))
    service.systemctl("restart", "edged")
    assert service.embed("hello") == 200
    assert service.models()["smollm2"]["state"] == "failed"


def test_clients_that_knock_do_not_start_a_broken_service_again_and_again(service: Service) -> None:
    service.configure(lambda config: config["server"].update(port="lots"))
    _fails_with(service, 2)
    after = service.cursor()
    for _ in range(30):
        with pytest.raises(ConnectionError):
            service.call("GET", "/livez")
    starts = [entry for entry in service.journal(after) if "Starting edged" in str(entry["MESSAGE"])]
    assert len(starts) <= 1


def test_a_taken_port(service: Service) -> None:
    service.systemctl("stop", "edged.service", "edged.socket")
    squatter = "edged-squatter.service"
    command = f"import socket, signal; s = socket.create_server(('', {PORT})); print('bound'); signal.pause()"
    run = service.machine.run
    run("systemd-run", f"--unit={squatter}", "--description=A squatter", "/usr/bin/python3", "-uIc", command)
    try:
        said = ("journalctl", "-u", squatter, "-o", "cat", "--no-pager")
        wait_until(lambda: "bound" in run(*said).stdout, lambda: run(*said).stdout)
        assert any(str(PORT) in line for line in _fails_with(service, 3))
    finally:
        run("systemctl", "stop", squatter, check=False)
    service.systemctl("restart", "edged")
    assert service.chat("hello")[0] == 200
    assert service.show("ActiveState", "edged.socket") == "active"
