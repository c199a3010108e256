"""What is described is what is served, and what is served is described."""

import pytest

from edged.api.app import ENDPOINTS, framework
from edged.api.docs.openapi import statuses
from edged.api.docs.page import CONTENT_SECURITY_POLICY
from edged.api.endpoint import Endpoint
from edged.api.work import Api, Places
from tests.api.conftest import Running, Serve, no_pulls
from tests.api.fuzzing import FAKES, fuzz

_N_EXAMPLES = 12
_DELETE = "/api/delete"  # only deletes what a client has pulled; nothing is pulled here
_WITH_EXAMPLE = [each for each in ENDPOINTS if each.example is not None and each.path != _DELETE]
_SECOND_NAMES = ("/completions", "/embeddings", "/v1/health", "/rerank", "/reranking", "/v1/reranking")


def test_every_route_is_declared_and_every_declared_one_is_there(edged: Running) -> None:
    api = Api(edged.pool, edged.metrics, Places(), no_pulls(edged.pool))
    app = framework(api)
    served = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    answered_before = {("GET", "/livez")}
    assert served | answered_before == {(each.method, each.path) for each in ENDPOINTS}


def test_the_description_is_served(edged: Running) -> None:
    described = edged.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1.")
    assert len([method for path in described["paths"].values() for method in path]) == len(ENDPOINTS)


def test_the_page_is_served_with_its_policy(edged: Running) -> None:
    answer = edged.get("/docs")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert b"/edged/v1/models" in answer.body


@pytest.mark.parametrize("endpoint", _WITH_EXAMPLE, ids=lambda each: each.path)
def test_an_example_is_answered(serve: Serve, endpoint: Endpoint) -> None:
    answer = serve(FAKES).call(endpoint.method, endpoint.path, endpoint.example)
    assert answer.status == endpoint.status, answer.body


@pytest.mark.parametrize("wrong", ["?shrink=maybe", "?shrunk=true", "?shrink=true&shrink=false"])
def test_parameters_of_a_url_are_understood_or_refused_by_name(edged: Running, wrong: str) -> None:
    answer = edged.post(f"/edged/v1/models/chat/cool{wrong}")
    assert answer.status == 400
    assert answer.error["param"] in ("shrink", "shrunk")


def test_a_key_is_needed_where_that_is_described(serve: Serve) -> None:
    running = serve(FAKES, access={"api_keys": ("a-key-of-more-than-16-characters",)})
    for endpoint in ENDPOINTS:
        if (
            endpoint.path != "/edged/v1/events"
        ):  # it is described as all others of edged's own, and never ends
            path = endpoint.path.replace("<model>", "smollm2")
            answer = running.call(endpoint.method, path, endpoint.example)
            assert (answer.status == 401) == (401 in statuses(endpoint)), (path, answer.status)


def test_whatever_is_sent_the_answer_is_one_that_is_described(serve: Serve) -> None:
    running = serve(FAKES, server={"max_requests": 16})
    outcome = fuzz(running.server.url, _N_EXAMPLES, seed=1, leave_out=_SECOND_NAMES)
    assert not outcome.problems, "\n\n".join(f"{what}\n{how}" for what, how in outcome.problems.items())
    assert outcome.answers.keys() - outcome.accepted == {f"DELETE {_DELETE}"}
