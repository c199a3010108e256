"""What an operator finds in the journal, and what nobody finds there."""

from typing import Any

from edged.service.events import MESSAGE_IDS
from tests.systemd.machine import wait_until
from tests.systemd.service import Service, kill

_SECRET = "xylophonequartz"


def _own(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that edged wrote itself, with fields; the others are systemd's, or text of a child."""
    return [entry for entry in entries if entry.get("_TRANSPORT") == "journal" and "LOGGER" in entry]


def _restart_with_a_crash(service: Service) -> list[dict[str, Any]]:
    """What edged writes when it is restarted and a runner is killed."""
    after = service.cursor()
    service.systemctl("restart", "edged")
    kill(service.runner("smollm2"))
    service.wait_model("smollm2", lambda model: model["restarts"] > 0 and model["state"] == "ready")
    return _own(service.journal(after))


def test_events_can_be_searched_for_by_their_fields(service: Service) -> None:
    entries = _restart_with_a_crash(service)
    told = [entry["EVENT"] for entry in entries if "EVENT" in entry]
    expected = ["draining", "stopped", "started", "ready", "runner_crashed", "runner_restarted"]
    assert [event for event in told if event in expected] == expected
    loaded = {entry["MODEL"]: entry for entry in entries if entry.get("EVENT") == "model_ready"}
    assert loaded.keys() == {"minilm", "smollm2"}
    for entry in loaded.values():
        assert entry["STRATEGY"]
        assert int(entry["DURATION_MS"]) > 0


def test_the_catalog_explains_every_event(service: Service) -> None:
    entries = [entry for entry in _restart_with_a_crash(service) if "EVENT" in entry]
    assert entries
    for entry in entries:
        assert entry["MESSAGE_ID"] == MESSAGE_IDS[entry["EVENT"]]
    explained = service.machine.run("journalctl", "--dump-catalog", *MESSAGE_IDS.values()).stdout
    assert explained.count("Subject:") == len(MESSAGE_IDS)


def test_a_request_can_be_found_by_its_id(service: Service) -> None:
    service.configure(lambda config: config["logging"].update(level="debug"))
    service.systemctl("reload", "edged")
    after = service.cursor()
    connection = service.connection()
    try:
        connection.request("GET", "/v1/models", headers={"X-Request-Id": "of-this-test"})
        response = connection.getresponse()
        assert response.headers["X-Request-Id"] == "of-this-test"
    finally:
        connection.close()

    def found() -> bool:
        return any(entry.get("REQUEST_ID") == "of-this-test" for entry in service.journal(after))

    wait_until(found, service.journal_text)


def test_neither_prompts_nor_answers_are_written(service: Service) -> None:
    service.configure(lambda config: config["logging"].update(level="debug"))
    service.systemctl("restart", "edged")
    after = service.cursor()
    _, answer = service.chat(f"Repeat the word {_SECRET}.", max_tokens=16)
    service.embed(_SECRET)
    service.chat(_SECRET, grammar=f'root ::= "{_SECRET}')
    said = answer["choices"][0]["message"]["content"]
    written = service.machine.run(
        "journalctl", f"--after-cursor={after}", "-o", "export", "--no-pager"
    ).stdout
    assert "edged" in written
    assert _SECRET not in written
    assert said not in written
