import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rich.console
import rich.progress
from click.testing import CliRunner, Result

from edged.cli import pull as pull_verb
from edged.hw.snapshot import MemoryFacts
from edged.store import pull as pulling
from edged.store.job import Wanted
from edged.store.pull import Place, Pulled
from tests.unit.store.samples import gguf_bytes, sha256

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "edged.yaml"
    file.write_text(f"storage:\n  model_dir: {tmp_path / 'models'}\n")
    return file


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.gguf"
    path.write_bytes(gguf_bytes(tmp_path))
    return path


def _edged_pull(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(pull_verb.command, [*arguments, "--config", str(config)])


def test_a_file_is_pulled_and_then_left_alone(config: Path, own: Path, tmp_path: Path) -> None:
    first = _edged_pull(config, str(own))
    target = tmp_path / "models" / "own.gguf"
    assert first.exit_code == 0
    assert first.stdout == f"own: installed {target} (0.1 MB) from {own}\n"
    assert target.read_bytes() == own.read_bytes()
    again = _edged_pull(config, str(own))
    assert again.exit_code == 0
    assert again.stdout == f"own: already installed and intact: {target} (0.1 MB)\n"


def test_a_failing_name_does_not_stop_the_others(config: Path, own: Path, tmp_path: Path) -> None:
    result = _edged_pull(config, "nonsense", "./absent.gguf", str(own), "http://example.org/a.gguf")
    assert result.exit_code == 1
    assert (tmp_path / "models" / "own.gguf").exists()
    assert "edged: no model 'nonsense' in the catalog" in result.stderr
    assert "absent.gguf: No such file or directory" in result.stderr
    assert "edged: http://example.org/a.gguf: only https:// addresses can be pulled" in result.stderr
    assert "Traceback" not in result.output


def test_name_and_hash_are_for_one_model(config: Path, own: Path, tmp_path: Path) -> None:
    content_hash = sha256(own.read_bytes())
    named = _edged_pull(config, str(own), "--name", "mine", "--sha256", content_hash)
    assert named.exit_code == 0
    assert (tmp_path / "models" / "mine.gguf").exists()
    assert _edged_pull(config, str(own), "minilm", "--name", "mine").exit_code == 2
    wrong = _edged_pull(config, str(own), "--name", "other", "--sha256", "a" * 64)
    assert wrong.exit_code == 1
    assert content_hash in wrong.stderr
    assert not (tmp_path / "models" / "other.gguf").exists()


def test_a_machine_too_small_is_told_before_any_download(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = MemoryFacts(total_bytes=8_000_000_000, cgroup_limit_bytes=300_000_000)
    monkeypatch.setattr("edged.lifecycle.fetch.memory_facts", lambda: facts)
    result = _edged_pull(config, "gemma3-270m")
    assert result.exit_code == 1
    assert result.stderr == (
        "edged: gemma3-270m needs about 0.4 GB of memory, this machine has 0.3 GB: pull anyway with --force\n"
    )
    assert not (tmp_path / "models").exists()


def test_the_options_reach_the_store(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Wanted, Place]] = []

    def pretend(wanted: Wanted, place: Place, progress: object) -> Pulled:
        asked.append((wanted, place))
        return Pulled(place.model_dir / "x.gguf", 25_000_000, wanted.weights, "a test", fetched=True)

    monkeypatch.setattr(pulling, "pull", pretend)
    result = _edged_pull(config, "minilm", "--weights", "bf16", "--name", "minilm-bf16", "--force")
    assert "minilm-bf16: installed" in result.stdout
    assert "(25.0 MB bf16) from a test" in result.stdout
    ((wanted, place),) = asked
    assert (wanted.id, wanted.convert_to, place.force) == ("minilm-bf16", "bf16", True)
    assert place.model_dir == tmp_path / "models"
    assert place.memory_bytes is not None


def test_without_a_configuration_the_default_directory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGED_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr("edged.config.load.SYSTEM_FILE", tmp_path / "absent.yaml")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert pull_verb.model_directory(None) == tmp_path / "edged" / "models"


def test_without_names_it_says_what_it_needs(config: Path) -> None:
    result = _edged_pull(config)
    assert result.exit_code == 2
    assert "NAME" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_pull_says_that_it_can_go_on(number: signal.Signals, config: Path) -> None:
    code = (
        "import signal, sys\n"
        "from edged.store import pull as pulling\n"
        "from edged.cli.pull import command\n"
        "def wait(*_):\n"
        "    print('begun', flush=True); signal.pause()\n"
        "pulling.pull = wait\n"
        "command(['minilm', 'smollm2', '--config', sys.argv[1]])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(number)
        assert child.stderr.read() == (
            "edged: stopped; what was downloaded is kept: pull again to go on from there\n"
        )
        assert child.stdout.read() == ""
    assert child.returncode == 130


def test_plain_progress_is_a_line_for_each_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    lines = pull_verb._Lines()
    for done_bytes in (0, 1_000_000, 2_000_000):
        lines.advance("tiny: copying", done_bytes, 4_000_000)
    now_s[0] += 10
    lines.advance("tiny: copying", 3_000_000, 4_000_000)
    lines.advance("tiny: checking", 0, None)
    assert capsys.readouterr().err.splitlines() == [
        "tiny: copying",
        "tiny: copying: 3.0 of 4.0 MB",
        "tiny: checking",
    ]


def test_the_bar_shows_one_step_at_a_time() -> None:
    shown = io.StringIO()
    console = rich.console.Console(file=shown, force_terminal=True, width=100)
    with rich.progress.Progress(console=console, auto_refresh=False) as bar:
        progress = pull_verb._Bar(bar)
        progress.say("[red]not markup[/red]")
        progress.advance("first [part]", 1, 2)
        progress.advance("second", 5, None)
        progress.advance("second", 10, 10)
        assert [(task.description, task.completed, task.total) for task in bar.tasks] == [("second", 10, 10)]
    assert "[red]not markup[/red]" in shown.getvalue()


def test_the_help_of_edged_imports_no_verb() -> None:
    code = (
        "import sys; from edged.cli.main import cli; cli(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith(('edged.store', 'edged.cli.pull'))])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT)
    assert run.stdout.endswith("[]\n")
