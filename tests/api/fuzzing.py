"""Requests made by schemathesis from /openapi.json, and what is wrong with the answers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx
import schemathesis
from msgspec import Struct, field
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckNode, Interaction, ScenarioRecorder

from edged.api.work import WAIT_HEADER
from tests.api.conftest import Json
from tests.api.streamed import Lines

_GENERATES, _EMBEDS = "smollm2", "minilm"
FAKES = {_GENERATES: "fake:generate?longest=64", _EMBEDS: "fake:embed?n_embd=4"}
_GENERATING = ("/v1/responses", "/api/chat", "/api/generate", "/apply-template")
# Never ends by itself, and is tested on its own.
_ENDLESS = ("/edged/v1/events",)
# What no answer may be: a crash, a status, a body or a header that is not documented; and what breaks the
# documented rules must be refused. What keeps them need not be accepted: rules between fields are no schema.
_CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "unsupported_method"),
)
_REFUSALS = ("400", "401", "403", "404", "405", "413", "429")
_PATIENCE_S = 30
_SHOWN_CHARACTERS = 1000


class Outcome(Struct):
    """What came of all requests."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)  # statuses, by operation
    accepted: set[str] = field(default_factory=set)  # operations that took something
    problems: dict[str, str] = field(default_factory=dict)  # an example of each kind

    @property
    def n_requests(self) -> int:
        """How many were sent."""
        return sum(counted.total() for counted in self.answers.values())

    def add(self, other: "Outcome") -> None:
        """What came of more requests."""
        for operation, answers in other.answers.items():
            self.answers.setdefault(operation, Counter()).update(answers)
        self.accepted |= other.accepted
        self.problems |= other.problems


def fuzz(url: str, n_examples: int, seed: int | None = None, leave_out: Sequence[str] = ()) -> Outcome:
    """Send so many generated requests to each operation, after those that probe its limits."""
    document = httpx.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(_answerable(document), config=_config(url, n_examples, seed))
    outcome, lines = Outcome(), Lines(document)
    for event in from_schema(schema.exclude(path=[*_ENDLESS, *leave_out])).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event.recorder, outcome, lines)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            outcome.problems[type(event).__name__] = str(event)
    return outcome


def _config(url: str, n_examples: int, seed: int | None) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            **({} if seed is None else {"seed": seed}),
            "base-url": url,
            "output": {"truncation": {"max-recorded-payload-size": 0}},
            "continue-on-failure": True,
            "request-timeout": _PATIENCE_S,
            "generation": {"database": "none", "deterministic": seed is not None},
            "phases": {
                "fuzzing": {"generation": {"max-examples": n_examples}},
                "stateful": {"enabled": False},
            },
            "checks": {
                "enabled": False,
                **{name: {"enabled": True} for name in _CHECKS},
                "negative_data_rejection": {"enabled": True, "expected-statuses": list(_REFUSALS)},
            },
        }
    )


def _answerable(document: Json) -> Json:
    """The document, which now says which models there are: any other name ends with 404.

    It does not say that one may wait no time at all for them, which ends with 503, nor that there is an older
    name of a field, which must not differ from the newer one.
    """
    for path, operations in document["paths"].items():
        for operation in operations.values():
            given = operation.get("parameters", ())
            operation["parameters"] = [each for each in given if each["name"] != WAIT_HEADER]
            for schema in _named_models(operation):
                schema["enum"] = [*_fitting(path), *([None] if "anyOf" in schema else [])]
            if "max_completion_tokens" in _fields_of(operation):
                del _fields_of(operation)["max_tokens"]
                del operation["requestBody"]["content"]["application/json"]["example"]["max_tokens"]
    return document


def _fitting(path: str) -> list[str]:
    if "embed" in path or "rerank" in path:
        return [_EMBEDS]
    return [_GENERATES] if "complet" in path or path in _GENERATING else [_GENERATES, _EMBEDS]


def _named_models(operation: Json) -> Iterator[Any]:
    for parameter in operation["parameters"]:
        if parameter["name"] == "model":
            yield parameter["schema"]
    fields = _fields_of(operation)
    if "model" in fields:
        yield fields["model"]


def _fields_of(operation: Json) -> Json:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    fields: Json = body.get("schema", {}).get("properties", {})
    return fields


def _note(recorder: ScenarioRecorder, outcome: Outcome, lines: Lines) -> None:
    operation = recorder.label
    answers = outcome.answers.setdefault(operation, Counter())
    for case_id, sent in recorder.interactions.items():
        for problem, how in _problems(operation, recorder.checks.get(case_id, ()), sent, lines):
            request = f"{sent.request.method} {sent.request.uri} {_text(sent.request.body)}"
            answer = "" if sent.response is None else _text(sent.response.content)
            outcome.problems.setdefault(f"{operation}: {problem}", f"{how}\n{request}\n{answer}")
        status = 0 if sent.response is None else sent.response.status_code
        answers[status] += 1
        if status // 100 == 2 and operation.startswith(f"{sent.request.method} "):
            outcome.accepted.add(operation)


def _problems(
    operation: str, checks: Iterable[CheckNode], sent: Interaction, lines: Lines
) -> Iterator[tuple[str, str]]:
    """What is wrong with one answer, and how."""
    for check in checks:
        if check.failure_info is not None:
            yield check.name, str(check.failure_info.failure)
    if sent.response is None:
        yield "no answer", f"within {_PATIENCE_S} s"
        return
    media_type = "".join(sent.response.headers.get("content-type", [])).partition(";")[0]
    how = lines.problem(operation, sent.response.status_code, media_type, sent.response.content)
    if how is not None:
        yield "stream", how


def _text(body: bytes | None) -> str:
    return (body or b"").decode(errors="backslashreplace")[:_SHOWN_CHARACTERS]
