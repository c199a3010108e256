"""Work under pressure: full places, full queues, clients that leave, runners that die."""

import json
import os
import signal
import socket
import threading
from typing import Any

import pytest

from tests.api.conftest import PATIENCE_S, Answer, Running, Serve, chat_body, eventually

ENDLESS = {"ignore_eos": True}


def send(running: Running, body: dict[str, Any], path: str = "/v1/chat/completions") -> socket.socket:
    """A request whose answer nobody has read yet."""
    sock = socket.create_connection(("127.0.0.1", running.server.port), PATIENCE_S)
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sock.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    return sock


def kill(running: Running, model: str) -> None:
    """End a runner that hangs: stopping it in an orderly way would take its full patience."""
    pid = running.pool.status(model).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def busy(running: Running, n: int) -> bool:
    return eventually(lambda: running.pool.status("chat").busy_slots == n)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("step_s", [0.01, 60])  # while tokens come, and while none do
def test_a_client_that_leaves_frees_its_slot(serve: Serve, stream: bool, step_s: float) -> None:
    running = serve({"chat": f"fake:generate?slots=1&step_s={step_s}"})
    with send(running, chat_body("for ever", stream=stream, **ENDLESS)):
        assert busy(running, 1)
    assert busy(running, 0)
    assert eventually(lambda: running.sample("edged_requests_working") == 0)


def test_a_client_that_leaves_the_queue_is_forgotten(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?slots=1&step_s=0.01"})
    with send(running, chat_body("for ever", **ENDLESS)):
        assert busy(running, 1)
        with send(running, chat_body("waiting")):
            assert eventually(lambda: running.pool.status("chat").queued_requests == 1)
        assert eventually(lambda: running.pool.status("chat").queued_requests == 0)


def test_a_client_that_leaves_an_embedding_gives_its_place_back(serve: Serve) -> None:
    running = serve({"embed": "fake:embed?hang_after=0"}, server={"max_requests": 1})
    with send(running, {"model": "embed", "input": "a"}, "/v1/embeddings"):
        assert eventually(lambda: running.sample("edged_requests_working") == 1)
    assert eventually(lambda: running.sample("edged_requests_working") == 0)
    kill(running, "embed")


def test_a_client_that_leaves_while_the_model_loads_gives_its_place_back(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=600"}, wait=False)
    with send(running, chat_body("hi")):
        assert eventually(lambda: running.sample("edged_requests_working") == 1)
    assert eventually(lambda: running.sample("edged_requests_working") == 0)


def test_beyond_max_requests_the_answer_is_429_and_health_still_answers(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?slots=1&step_s=0.01"}, server={"max_requests": 3})
    streams = [send(running, chat_body("for ever", stream=True, **ENDLESS)) for _ in range(3)]
    try:
        assert eventually(lambda: running.sample("edged_requests_working") == 3)
        answer = running.chat("hi")
        assert (answer.status, answer.error["code"]) == (429, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        for path in ("/livez", "/readyz", "/health", "/metrics", "/v1/models", "/edged/v1/models"):
            assert running.get(path).status == 200
    finally:
        for stream in streams:
            stream.close()
    assert eventually(lambda: running.sample("edged_requests_working") == 0)
    assert running.chat("hi").status == 200


def test_a_full_queue_is_429_with_retry_after(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?full=1"})
    for stream in (False, True):
        answer = running.chat("hi", stream=stream)
        assert (answer.status, answer.error["code"]) == (429, "overloaded")
        assert answer.headers["Retry-After"] == "3"  # the fake says 2.5 s


def test_a_computation_that_fails_is_500_and_says_so(serve: Serve) -> None:
    answer = serve({"chat": "fake:generate?fails=1"}).chat("hi")
    assert (answer.status, answer.error["code"]) == (500, "runner_failed")


def test_a_runner_that_dies_in_the_middle_ends_a_stream_with_an_error(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?crash_after=2"})
    answer = running.chat("a b c d", stream=True)
    assert answer.status == 200
    *events, last = answer.body.decode().strip().split("\n\n")
    assert len(events) == 3  # the role and two words
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "runner_failed"
    assert "SIGKILL" in error["message"]


def test_a_runner_that_dies_in_the_middle_of_a_whole_answer_is_500(serve: Serve) -> None:
    answer = serve({"chat": "fake:generate?crash_after=2"}).chat("a b c d")
    assert (answer.status, answer.error["code"]) == (500, "runner_failed")


def test_after_a_runner_was_killed_the_next_request_succeeds(serve: Serve) -> None:
    running = serve({"chat": "fake:generate", "embed": "fake:embed"})
    pid = running.pool.status("chat").pid
    kill(running, "chat")
    assert eventually(lambda: running.pool.status("chat").pid != pid)
    assert running.get("/livez").status == 200
    assert running.post("/v1/embeddings", {"model": "embed", "input": "a"}).status == 200
    assert running.chat("one two").json()["usage"]["completion_tokens"] == 2


def test_frames_that_are_none_end_the_runner_and_not_the_daemon(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?garbage_after=0"})
    answer = running.chat("hi")
    assert (answer.status, answer.error["code"]) == (500, "runner_failed")
    assert running.get("/livez").status == 200


def test_a_runner_that_hangs_is_given_up_on_after_request_timeout(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?hang_after=0"}, server={"request_timeout": 0.3})
    answer = running.chat("hi")
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert "server.request_timeout" in answer.error["message"]
    kill(running, "chat")


def test_a_request_waits_for_its_model(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=0.3"}, wait=False)
    assert running.chat("one two").status == 200


def test_a_model_is_loaded_on_demand_once_for_all_who_ask(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_s=0.2"}, preload=False)
    assert running.pool.status("chat").state == "unloaded"
    answers: list[Answer] = []
    asking = [threading.Thread(target=lambda: answers.append(running.chat("hi"))) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE_S)
    assert [answer.status for answer in answers] == [200] * 4
    assert running.pool.status("chat").restarts == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_loads_too_long_is_503_with_the_time_that_is_left(serve: Serve, stream: bool) -> None:
    running = serve({"chat": "fake:generate?load_s=600"}, wait=False, loading={"request_wait": 0.05})
    assert eventually(lambda: running.pool.status("chat").bytes_done == 0)
    answer = running.chat("hi", stream=stream)
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3  # the plan predicts 3 s
    assert "loading" in answer.error["message"]


def test_a_model_that_cannot_load_is_503_at_once_with_the_reason(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?load_fails=the+file+is+damaged"}, wait=False)
    answer = running.chat("hi")
    assert answer.status == 503
    assert "the file is damaged" in answer.error["message"]


def test_a_model_without_a_plan_is_503_with_the_reason(serve: Serve) -> None:
    running = serve({"chat": "fake:generate"}, problems={"big": "needs 3.1 GB, this machine has 0.9 GB"})
    answer = running.post("/v1/chat/completions", chat_body("hi", model="big"))
    assert answer.status == 503
    assert "needs 3.1 GB" in answer.error["message"]


def test_while_draining_new_work_is_refused_and_running_work_ends(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?step_s=0.02"})
    with send(running, chat_body("a b c d e f g h", stream=True)) as stream:
        assert busy(running, 1)
        running.pool.draining = True
        answer = running.chat("hi")
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert running.get("/livez").status == 200
        assert running.get("/readyz").status == 503
        with stream.makefile("rb") as lines:
            assert lines.read().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_no_stream_gets_anothers_words(serve: Serve) -> None:
    running = serve({"chat": "fake:generate?slots=4&step_s=0.001"}, server={"max_requests": 8})
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        text = " ".join(f"{name}{index}" for index in range(30))
        body = running.chat(text, stream=True).body.decode()
        events = [json.loads(line[6:]) for line in body.split("\n\n") if line.startswith("data: {")]
        answers[text] = "".join(event["choices"][0]["delta"].get("content", "") for event in events)

    asking = [threading.Thread(target=ask, args=(name,)) for name in "abcdefgh"]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE_S)
    assert len(answers) == 8
    assert all(sent == received for sent, received in answers.items())


def test_metrics_count_what_was_done(serve: Serve) -> None:
    running = serve({"chat": "fake:generate", "embed": "fake:embed"})
    running.chat("one two three")
    running.chat("one", stream=True)
    running.post("/v1/embeddings", {"model": "embed", "input": "abcd"})
    running.get("/some/path/of/the/clients")
    route = 'edged_requests_total{endpoint="/v1/chat/completions",status="200"}'
    assert eventually(lambda: running.sample(route) == 2)
    assert running.sample('edged_tokens_total{kind="generated",model="chat"}') == 4
    assert running.sample('edged_tokens_total{kind="prompt",model="chat"}') == 4
    assert running.sample('edged_tokens_total{kind="prompt",model="embed"}') == 4
    assert running.sample('edged_time_to_first_token_seconds_count{model="chat"}') == 2
    assert running.sample('edged_requests_total{endpoint="unknown",status="404"}') == 1
    assert running.sample('edged_model_state{model="chat",state="ready"}') == 1
