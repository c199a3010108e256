"""What an operator finds in the journal, and what nobody finds there."""

from typing import Any

from tests.systemd.service import Service, kill

_SECRET = "xylophonequartz"


def _own(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that edged wrote itself, with fields; the others are systemd's, or text of a child."""
    return [entry for entry in entries if entry.get("_TRANSPORT") == "journal" and "LOGGER" in entry]


def test_events_can_be_searched_for_by_their_fields(service: Service) -> None:
    after = service.cursor()
    service.systemctl("restart", "edged")
    victim = service.runner("smollm2")
    kill(victim)
    service.wait_model("smollm2", lambda model: model["restarts"] > 0 and model["state"] == "ready")
    own = _own(service.journal(after))
    assert {entry["MODEL"] for entry in own if "MODEL" in entry} == {"minilm", "smollm2"}
    loaded = [entry for entry in own if "STRATEGY" in entry and "DURATION_MS" in entry]
    assert loaded
    assert all(int(entry["DURATION_MS"]) > 0 for entry in loaded)
    assert any("EVENT" in entry for entry in own)


def test_an_event_in_the_catalog_is_explained(service: Service) -> None:
    after = service.cursor()
    service.systemctl("restart", "edged")
    kill(service.runner("smollm2"))
    service.wait_model("smollm2", lambda model: model["restarts"] > 0 and model["state"] == "ready")
    ids = {entry["MESSAGE_ID"] for entry in _own(service.journal(after)) if "MESSAGE_ID" in entry}
    assert ids
    for each in ids:
        explained = service.machine.run("journalctl", "--dump-catalog", each).stdout
        assert "Subject:" in explained


def test_a_request_that_failed_can_be_found_by_its_id(service: Service) -> None:
    after = service.cursor()
    service.configure(lambda config: config["models"]["smollm2"].update(file="none.gguf", preload=False))
    service.systemctl("restart", "edged")
    connection = service.connection()
    try:
        body = '{"model": "smollm2", "prompt": "hello"}'
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status >= 500
        request_id = response.headers["X-Request-Id"]
    finally:
        connection.close()
    assert request_id in {entry.get("REQUEST_ID") for entry in _own(service.journal(after))}


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
