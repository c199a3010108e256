"""Requests made by schemathesis from /openapi.json, and what is wrong with the answers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import schemathesis
from msgspec import Struct, field
from schemathesis.engine import Status, events, from_schema

from tests.api.conftest import Json

# Never ends by itself, and is tested on its own.
_ENDLESS = ("/edged/v1/events",)
# What no answer may be: a crash, a status, a body or a header that is not documented; and what breaks the
# documented rules must be refused. What keeps them need not be accepted: rules between fields are no schema.
_CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
    "unsupported_method",
)
_PATIENCE_S = 30


class Outcome(Struct):
    """What came of all requests."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)  # statuses, by operation
    problems: dict[str, str] = field(default_factory=dict)  # an example of each kind

    @property
    def n_requests(self) -> int:
        """How many were sent."""
        return sum(counted.total() for counted in self.answers.values())


def fuzz(url: str, models: Sequence[str], n_examples: int, seed: int | None = None) -> Outcome:
    """Send so many generated requests to each operation, after those that probe its limits."""
    schema = schemathesis.openapi.from_dict(
        _naming(httpx.get(f"{url}/openapi.json").json(), models), config=_config(url, n_examples, seed)
    )
    outcome = Outcome()
    for event in from_schema(schema.exclude(path=list(_ENDLESS))).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, outcome)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            outcome.problems[f"{type(event).__name__}"] = str(getattr(event, "info", event))
    return outcome


def _config(url: str, n_examples: int, seed: int | None) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            **({} if seed is None else {"seed": seed}),
            "base-url": url,
            "continue-on-failure": True,
            "request-timeout": _PATIENCE_S,
            "generation": {"database": "none", "deterministic": seed is not None},
            "phases": {
                "fuzzing": {"generation": {"max-examples": n_examples}},
                "stateful": {"enabled": False},
            },
            "checks": {"enabled": False, **{name: {"enabled": True} for name in _CHECKS}},
        }
    )


def _naming(document: Json, models: Sequence[str]) -> Json:
    """The document, which now says which models there are: any other name ends with 404."""
    for schema in _named_models(document["paths"]):
        schema["enum"] = list(models)
    return document


def _named_models(paths: Json) -> Iterator[Any]:
    for operation in (operation for path in paths.values() for operation in path.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "model":
                yield parameter["schema"]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, schema in body.get("schema", {}).get("properties", {}).items():
            if name in ("model", "name"):
                yield schema


def _note(event: events.ScenarioFinished, outcome: Outcome) -> None:
    answers = outcome.answers.setdefault(event.recorder.label, Counter())
    for case_id, sent in event.recorder.interactions.items():
        answers[0 if sent.response is None else sent.response.status_code] += 1
        for check in event.recorder.checks.get(case_id, ()):
            if check.status == Status.FAILURE:
                what = f"{event.recorder.label}: {check.name}"
                outcome.problems.setdefault(what, f"{check.failure_info}\n{sent.request.body!r}")
