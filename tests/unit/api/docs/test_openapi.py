"""The description is OpenAPI, and says what the types say."""

from collections.abc import Iterator
from typing import Any

import schemathesis

from edged.api.app import ENDPOINTS
from edged.api.docs.openapi import ERRORS, document, operation_id
from edged.api.errors import row_of
from edged.errors import InvalidRequest, Overloaded, RunnerFailed, Unavailable, UnknownModel
from tests.unit.api.docs.test_fields import ENDPOINT


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolved(description: Any, reference: str) -> Any:
    found = description
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_it_is_openapi() -> None:
    schemathesis.openapi.from_dict(document(ENDPOINTS)).validate()


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    described = document(ENDPOINTS)
    used = set(references(described))
    assert all(resolved(described, reference) for reference in used)
    kept = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses", "headers")
            for name in described["components"][kind]}  # fmt: skip
    assert kept == used


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation_id(each) for each in ENDPOINTS]
    assert len(names) == len(set(names))


def test_a_request_says_what_is_taken_and_what_is_not() -> None:
    operation = document([ENDPOINT])["paths"]["/v1/things"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["model"]
    assert body["additionalProperties"] is False
    assert body["properties"]["n"] == {
        "description": "How many.",
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 128}, {"type": "null"}],
    }
    assert body["properties"]["user"] == {"description": "Accepted without effect: nobody is told."}
    assert body["properties"]["audio"] == {
        "description": "Refused: there is none.",
        "enum": [None, False, "off"],
    }
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "413", "429", "500", "503"}


def test_what_edged_asks_for_by_name_is_required_as_well() -> None:
    operation = document(ENDPOINTS)["paths"]["/v1/chat/completions"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["required"]) == {"model", "messages"}
    assert body["properties"]["model"]["type"] == "string"
    assert "x-needed" not in str(document(ENDPOINTS))


def test_who_may_ask_is_said() -> None:
    paths = document(ENDPOINTS)["paths"]
    assert paths["/edged/v1/models/{model}/load"]["post"]["security"] == [{}, {"key": ["manage"]}]
    assert paths["/livez"]["get"]["security"] == [{}]
    assert "401" not in paths["/readyz"]["get"]["responses"]


def test_a_stream_says_what_its_events_hold() -> None:
    answer = document(ENDPOINTS)["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]
    event = answer["content"]["text/event-stream"]["schema"]["properties"]["data"]
    end, data = event["anyOf"]
    assert end == {"const": "[DONE]"}
    assert [each["$ref"].rpartition("/")[2] for each in data["contentSchema"]["anyOf"]] == [
        *("ChatChunk", "ErrorAnswer")
    ]


def test_a_path_has_its_parameters() -> None:
    load = document(ENDPOINTS)["paths"]["/edged/v1/models/{model}/load"]["post"]
    assert [each["name"] for each in load["parameters"]] == ["model"]
    assert "202" in load["responses"]
    assert "200" not in load["responses"]


def test_what_a_url_takes_is_described() -> None:
    [memory] = document(ENDPOINTS)["paths"]["/edged/v1/models"]["get"]["parameters"]
    assert (memory["name"], memory["in"], memory["required"]) == ("memory", "query", False)


def test_every_error_that_edged_raises_has_a_description() -> None:
    raised = (
        *(InvalidRequest(""), UnknownModel(""), RunnerFailed("")),
        *(Overloaded("", 1.0), Unavailable("", 1.0), ValueError()),
    )
    assert {row_of(error).status for error in raised} <= ERRORS.keys()
