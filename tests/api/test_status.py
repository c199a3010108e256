"""Status, models, and edged's own endpoints."""

import re

import pytest

from tests.api.conftest import Running, Serve


def test_ready(edged: Running) -> None:
    answer = edged.get("/readyz")
    assert answer.status == 200
    assert answer.json()["status"] == "ready"
    assert set(answer.json()["models"]) == {"chat", "embed"}
    assert edged.get("/readyz?model=chat").json()["models"]["chat"]["state"] == "ready"
    assert edged.get("/health").json() == {"status": "ok"}


def test_not_ready_says_why_and_how_far(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=600", "embed": "fake:embed"}, wait=False)
    running.pool.ensure_ready("embed", 20)
    answer = running.get("/readyz")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["status"] == "waiting"
    chat = answer.json()["models"]["chat"]
    assert chat["state"] == "loading"
    assert set(chat) >= {"phase", "bytes_done", "bytes_total", "remaining_s", "reason"}
    assert running.get("/readyz?model=chat").status == 503
    assert running.get("/readyz?model=embed").status == 200
    health = running.get("/health")
    assert health.status == 503
    assert health.json()["error"] == {
        "code": 503,
        "message": "Loading model",
        "type": "unavailable_error",
    }


def test_models_loaded_on_demand_do_not_hold_up_readiness(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, preload=False)
    assert running.get("/readyz").status == 200
    assert running.get("/readyz?model=chat").status == 503


def test_ready_asks_about_known_models_only(edged: Running) -> None:
    answer = edged.get("/readyz?model=nope")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_models(edged: Running) -> None:
    answer = edged.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [(model["id"], model["object"], model["owned_by"]) for model in answer["data"]] == [
        ("chat", "model", "edged"),
        ("embed", "model", "edged"),
    ]
    assert edged.get("/v1/models/chat").json()["id"] == "chat"
    assert edged.get("/v1/models/nope").status == 404


def test_unknown_paths_are_404_in_the_error_shape(edged: Running) -> None:
    for path in ("/v1", "/v1/models/", "/v2/models", "/v1//models", "/v1/%ff", "/v1/models/a/b"):
        answer = edged.get(path)
        assert answer.status == 404, path
        assert answer.error["code"] in ("unknown_url", "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
        ("PUT", "/v1/embeddings", "OPTIONS, POST"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD, OPTIONS"),
        ("GET", "/edged/v1/models/chat/load", "OPTIONS, POST"),
    ],
)
def test_wrong_methods_are_405_with_those_that_are_right(
    edged: Running, method: str, path: str, allow: str
) -> None:
    answer = edged.call(method, path)
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


def test_request_ids_are_echoed_or_made(edged: Running) -> None:
    given = edged.get("/v1/models", **{"X-Request-Id": "abc-1.2_3"})
    assert given.headers["X-Request-Id"] == "abc-1.2_3"
    made = edged.get("/v1/models", **{"X-Request-Id": "with spaces " + "x" * 100})
    assert re.fullmatch(r"[0-9a-f]{16}", made.headers["X-Request-Id"])
    assert re.fullmatch(r"[0-9a-f]{16}", edged.get("/nowhere").headers["X-Request-Id"])


def test_the_server_does_not_tell_its_version(edged: Running) -> None:
    assert edged.get("/v1/models").headers["Server"] == "edged"
    assert edged.get("/livez").headers["Server"] == "edged"


def test_hardware_and_plan(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, problems={"big": "does not fit"})
    hardware = running.get("/edged/v1/hardware").json()
    assert hardware["memory"]["total_bytes"] == 1 << 30
    assert hardware["memory"]["swap_total_bytes"] is None
    plan = running.get("/edged/v1/plan").json()
    assert plan["plans"][0]["model"] == "chat"
    assert plan["plans"][0]["reasons"] == ["it is not real"]
    assert plan["problems"] == {"big": "does not fit"}
    measured = plan["plans"][0]["measured"]
    assert 0 < measured["ready_s"] == running.pool.status("chat").measured_ready_s
    assert measured["first_answer_s"] is None
    running.chat("hello")
    (chat,) = running.get("/edged/v1/plan").json()["plans"]
    assert chat["measured"]["first_answer_s"] >= chat["measured"]["ready_s"]
    assert chat["predicted"]["first_answer_s"] == 4.0


def test_a_model_is_unloaded_loaded_and_warmed_up(serve: Serve) -> None:
    running = serve({"smollm2.135m-q4": "fake:generate"})
    path = "/edged/v1/models/smollm2.135m-q4"
    assert running.get("/edged/v1/models").json()["models"][0]["state"] == "ready"
    assert running.post(f"{path}/unload").json()["state"] == "unloaded"
    assert running.get(path).json()["state"] == "unloaded"
    loading = running.post(f"{path}/load")
    assert loading.status == 202
    running.pool.ensure_ready("smollm2.135m-q4", 20)
    assert running.get(path).json()["pid"]
    assert running.post(f"{path}/unload").status == 200
    warm = running.post(f"{path}/warmup").json()  # loads it first
    assert warm["state"] == "ready"
    assert warm["warmup_s"] == 0.0


@pytest.mark.parametrize("verb", ["load", "warmup", "unload"])
def test_control_of_unknown_models_is_404(edged: Running, verb: str) -> None:
    answer = edged.post(f"/edged/v1/models/nope/{verb}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
