"""Clients that go on while something happens to the service, and remember how they fared."""

import http.client
import json
import threading
from types import TracebackType

from tests.systemd.service import Service

_PATIENCE_S = 60.0


class SteadyLoad:
    """Within the block, `n_clients` ask one thing after the other, each on a connection of its own."""

    def __init__(self, service: Service, n_clients: int = 4) -> None:
        self._service = service
        self._stop = threading.Event()
        self._answered = threading.Condition()
        self.answers: list[str] = []  # "200", another status with its body, or how the connection failed
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(n_clients)]

    def _ask(self, client: int) -> None:
        n = 0
        while not self._stop.is_set():
            n += 1
            try:
                status, body = self._service.call(
                    "POST", "/v1/embeddings", {"model": "minilm", "input": f"client {client}, question {n}"}
                )
                answer = "200" if status == 200 else f"{status}: {body}"
            except (OSError, http.client.HTTPException) as error:
                answer = f"{type(error).__name__}: {error}"
            with self._answered:
                self.answers.append(answer)
                self._answered.notify_all()

    def wait_more(self, n: int) -> None:
        """Return when so many further requests have been answered."""
        with self._answered:
            enough = len(self.answers) + n
            assert self._answered.wait_for(lambda: len(self.answers) >= enough, _PATIENCE_S), self.answers[
                -5:
            ]

    @property
    def failures(self) -> list[str]:
        """What was answered otherwise than with 200."""
        return [answer for answer in self.answers if answer != "200"]

    def __enter__(self) -> "SteadyLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE_S)


class Stream:
    """A streamed chat answer, read in a thread of its own from the moment that this is made."""

    def __init__(self, service: Service, n_tokens: int) -> None:
        self._service = service
        self._n_tokens = n_tokens
        self._began = threading.Event()
        self.n_chunks = 0
        self.finish: str | None = None  # the finish_reason
        self.is_whole = False  # [DONE] came
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._ask()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._began.set()

    def _ask(self) -> None:
        messages = [{"role": "user", "content": "Write a long story about the sea."}]
        body = {"model": "smollm2", "messages": messages, "max_tokens": self._n_tokens, "stream": True}
        connection = self._service.connection()
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise OSError(f"{response.status}: {response.read().decode()}")
            for line in response:
                if line.startswith(b"data: "):
                    self._take(line.removeprefix(b"data: ").strip())
        finally:
            connection.close()

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_whole = True
            return
        for choice in json.loads(data)["choices"]:
            self.n_chunks += bool(choice["delta"].get("content"))
            self.finish = choice["finish_reason"] or self.finish
        if self.n_chunks:
            self._began.set()

    def wait_begun(self) -> None:
        """Return when the first piece of the answer is there."""
        assert self._began.wait(_PATIENCE_S), "no answer"
        assert self.failure is None, self.failure

    @property
    def is_under_way(self) -> bool:
        """Whether it is still being answered."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Return when it has ended."""
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the stream does not end"
