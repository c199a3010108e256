"""Whatever happens to a model's process or file: only what was in flight is lost, and it serves again."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.faults import N_QUEUED, failing_disk, strike

Start = Callable[..., Daemon]

ONE_SLOT = ("models.smollm2.n_seq_max=1", "loading.restart_backoff=100ms")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_what_waited_is_answered_by_the_next_process(start: Start, number: signal.Signals) -> None:
    daemon = start(*ONE_SLOT, *(["loading.hang_timeout=6s"] if number == signal.SIGSTOP else []))
    daemon.wait_ready()
    outcome = strike(daemon, lambda: os.kill(daemon.model("smollm2")["pid"], number))
    print(f"{number.name}: served again after {outcome.again_s:.2f} s")
    said = "hangs" if number == signal.SIGSTOP else number.name
    assert '"error"' in outcome.stream_end
    assert said in outcome.stream_end
    assert outcome.queued == (200,) * N_QUEUED
    assert outcome.others == {200}
    assert daemon.model("smollm2")["restarts"] == 1


def test_embeddings_that_no_batch_held_survive_their_process(start: Start) -> None:
    daemon = start("loading.restart_backoff=100ms")
    daemon.wait_ready()
    pid = daemon.model("minilm")["pid"]
    os.kill(pid, signal.SIGSTOP)
    statuses: list[int] = []
    asking = [
        threading.Thread(target=lambda text=text: statuses.append(daemon.embed(text)[0]))
        for text in ("one", "two", "three", "four")
    ]
    for each in asking:
        each.start()
    daemon.wait_until("/metrics", lambda _s, text: "edged_requests_working 4.0" in str(text))
    os.kill(pid, signal.SIGKILL)
    for each in asking:
        each.join()
    assert statuses == [200] * 4


def test_a_file_that_is_deleted_while_loaded_is_missed_only_by_the_next_load(
    start: Start, copied_models: Path
) -> None:
    daemon = start(folder=copied_models)
    daemon.wait_ready()
    path = copied_models / "smollm2.gguf"
    path.rename(away := path.with_name("away"))
    assert daemon.chat("hello")[0] == 200, "the process has it still"
    assert daemon.call("POST", "/edged/v1/models/smollm2/unload")[0] in (200, 202)
    status, answer = daemon.chat("hello")
    assert status == 503
    assert "smollm2.gguf" in answer["error"]["message"]
    away.rename(path)
    assert daemon.call("POST", "/edged/v1/models/smollm2/load")[0] in (200, 202)
    assert daemon.chat("hello")[0] == 200


def test_a_file_that_is_cut_short_while_loaded_ends_its_process_and_a_whole_one_serves(
    start: Start, copied_models: Path
) -> None:
    daemon = start("models.smollm2.strategy=lazy", "loading.restart_backoff=100ms", folder=copied_models)
    daemon.wait_ready()
    path = copied_models / "smollm2.gguf"
    whole = shutil.copy2(path, path.with_name("whole"))
    os.truncate(path, 5_000_000)
    status, answer = daemon.chat("hello")
    assert status >= 500
    assert "SIGBUS" in answer["error"]["message"] or "smollm2.gguf" in answer["error"]["message"]
    assert daemon.embed("hello")[0] == 200
    status, answer = daemon.chat("hello")
    assert status == 503
    assert "smollm2.gguf" in answer["error"]["message"]
    Path(whole).replace(path)
    assert daemon.call("POST", "/edged/v1/models/smollm2/load")[0] in (200, 202)
    assert daemon.chat("hello")[0] == 200


@pytest.fixture
def disk(models: Path, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
        pytest.skip("a failing disk takes root, mkfs.ext4 and loop devices")
    with failing_disk(tmp_path, models / "smollm2.gguf") as made:
        yield made


def test_a_disk_that_fails_takes_only_its_model_until_it_is_mended(
    start: Start, disk: tuple[Path, Callable[[], None], Callable[[], None]]
) -> None:
    folder, fail, mend = disk
    path = folder / "smollm2.gguf"
    daemon = start(
        *(f"models.smollm2.file={path}", "models.smollm2.strategy=lazy", "models.smollm2.repack=false"),
        "loading.restart_backoff=100ms",
    )
    daemon.wait_ready()
    fail()
    status, answer = daemon.chat("hello")
    assert status >= 500
    assert daemon.embed("hello")[0] == 200
    status, answer = daemon.chat("hello")
    assert status == 503, answer
    print(answer["error"]["message"])
    mend()
    assert daemon.call("POST", "/edged/v1/models/smollm2/load")[0] in (200, 202)
    assert daemon.chat("hello")[0] == 200
