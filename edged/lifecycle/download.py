"""A model that is fetched for clients by a process of its own, and who follows that."""

import logging
import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from edged.errors import EdgedError, PullError
from edged.lifecycle.process import plain_environment

log = logging.getLogger(__name__)

_MOST_WAITING = 64  # notices for one follower: of a step, the last one says it all


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A line worth keeping."""

    text: str


class Step(msgspec.Struct, frozen=True, tag="step"):
    """So much of a step is done; a new label begins a new one."""

    label: str
    done_bytes: int
    total_bytes: int | None


class Over(msgspec.Struct, frozen=True, tag="over"):
    """The process's last line: the model is in place, or why it is not."""

    problem: str | None = None


Notice = Said | Step
Line = Notice | Over
_line: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class Follower:
    """What one client is told of a pull. `next` is for one thread."""

    def __init__(self, leave: Callable[["Follower"], None]) -> None:
        self._leave = leave
        self._changed = threading.Condition()
        self._waiting: deque[Notice] = deque(maxlen=_MOST_WAITING)
        self._problem: EdgedError | None = None
        self.over = False  # nothing more comes

    def put(self, notice: Notice) -> None:
        """Keep it until it is taken; the oldest makes room."""
        with self._changed:
            self._waiting.append(notice)
            self._changed.notify()

    def end(self, problem: EdgedError | None) -> None:
        """Nothing follows; without a problem, the model is served."""
        with self._changed:
            self._problem, self.over = problem, True
            self._changed.notify()

    def next(self, wait_s: float) -> Notice | None:
        """The next notice; None when there is none for `wait_s`, and at the end. Raises why it has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.over, wait_s)
            if self._waiting:
                return self._waiting.popleft()
            if self._problem is not None:
                raise self._problem
            return None

    def leave(self) -> None:
        """Follow no more: a pull that nobody follows is stopped, and can be resumed."""
        self._leave(self)


class Download:
    """One fetch. A thread of its own listens to the process, and sees to what comes after."""

    def __init__(self, model: str, command: Sequence[str], after: Callable[[], object]) -> None:
        self.model = model
        self.followers: list[Follower] = []
        self.stopped = False
        self.over = False
        self._command = command
        self._after = after
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=f"pull-{model}", daemon=True)

    def follow(self, follower: Follower) -> bool:
        """Tell this one, too; False where it is too late for that."""
        with self._lock:
            if self.stopped or self.over:
                return False
            self.followers.append(follower)
            return True

    def leave(self, follower: Follower) -> None:
        with self._lock:
            if follower in self.followers:
                self.followers.remove(follower)
            if not self.followers:
                self._stop()

    def stop(self) -> None:
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        self.stopped = True
        if self._child is not None and not self.over:
            self._child.terminate()

    def kill(self) -> None:
        """Whatever it does: its time is up."""
        if self._child is not None:
            self._child.kill()

    def _run(self) -> None:
        problem: EdgedError | None = PullError(f"{self.model}: the pull has failed; the log says why")
        try:
            self._fetch()
            self._after()
            problem = None
            log.info("%s: pulled for a client, and served", self.model, extra={"MODEL": self.model})
        except EdgedError as error:
            problem = error
            log.warning("%s: not pulled: %s", self.model, error, extra={"MODEL": self.model})
        finally:
            with self._lock:
                self.over = True
                for follower in self.followers:
                    follower.end(problem)

    def _fetch(self) -> None:
        """Raises PullError."""
        over: Over | None = None
        with subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=plain_environment(os.environ),
            start_new_session=True,  # a Ctrl-C on the terminal is the daemon's to handle
        ) as child:
            with self._lock:
                self._child = child
                if self.stopped:
                    child.terminate()
            assert child.stdout is not None
            for line in child.stdout:
                notice = _line.decode(line)
                if isinstance(notice, Over):
                    over = notice
                else:
                    self._tell(notice)
        if over is None:
            why = "was stopped" if self.stopped else f"ended with code {child.returncode}"
            raise PullError(f"{self.model}: the pull {why}; what was downloaded is kept: pull again to go on")
        if over.problem is not None:
            raise PullError(over.problem)

    def _tell(self, notice: Notice) -> None:
        with self._lock:
            for follower in self.followers:
                follower.put(notice)
