"""install.sh against a machine of stand-ins: only its own logic runs, nothing is installed.

PATH holds links to the coreutils it needs and stubs that write each call to a file. As root the script
runs as `nobody`, so that "neither root nor sudo" is true.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = 65534
TOOLS = (
    *(
        "awk",
        "bash",
        "cat",
        "cp",
        "cut",
        "dirname",
        "env",
        "flock",
        "grep",
        "id",
        "ln",
        "ls",
        "mkdir",
        "mktemp",
        "mv",
        "nproc",
    ),
    *("readlink", "rm", "sed", "sha256sum", "sort", "sync", "tail", "touch", "tr", "uname"),
)

PYTHON_STUB = r"""#!/usr/bin/env bash
# An interpreter with venv and pip. FAIL_PIP names the command that fails, HANG_PIP the one that never ends.
record() { echo "$*" >>"$CALLS"; }
case "$*" in
  *cache_tag*) echo "cpython-311" ;;
  *get_path*) echo "$INCLUDE" ;;
  "-m venv "*)
    record "$@"
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    cp "$(command -v edged)" "$3/bin/edged" ;;
  "-m pip "*)
    record "${@:2}"
    [[ $3 != "${FAIL_PIP:-}" ]] || { echo "Could not fetch URL"; exit 1; }
    [[ $3 != "${HANG_PIP:-}" ]] || { echo hanging >"$CALLS.hanging"; exec tail -f /dev/null; }
    while [[ $# -gt 1 ]]; do
      case $1 in
        -d) : >"$2/llama_cpp_python-0.tar.gz" ;;
        -w) mkdir -p "$2"; echo "$CMAKE_ARGS" >"$2/llama_cpp_python-0.whl" ;;
      esac
      shift
    done ;;
esac
"""


class Machine:
    """A clone of the repository's install.sh and a PATH of stand-ins, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "a clone"  # with a space: paths must be quoted
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "CALLS": str(self.calls_file),
            "INCLUDE": str(folder),
            "PYTHON": "python3",
        }
        self._user = NOBODY if os.geteuid() == 0 else None
        for name in ("scripts", "edged/runner", "config"):
            (self.clone / name).mkdir(parents=True)
        self.bin.mkdir()
        (folder / "Python.h").touch()
        for name in ("install.sh", "pyproject.toml", "edged/runner/lazymap.c"):
            shutil.copy(REPOSITORY / name, self.clone / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is needed by install.sh and not on this machine"
            (self.bin / tool).symlink_to(found)
        self.stub("python3", PYTHON_STUB)
        self.stub("sleep", "#!/usr/bin/env bash\nread -r -t 0.01 <> <(:) || true\n")
        self.stub("edged", '#!/usr/bin/env bash\necho "edged $*" >>"$CALLS"\n')
        for tool in ("cc", "c++", "cmake", "ninja", "pkg-config"):
            self.stub(tool, f'#!/usr/bin/env bash\necho "{tool} 1.0"\n')
        if os.geteuid() == 0:
            folder.chmod(0o755)
            for path in (folder, *folder.rglob("*")):
                os.lchown(path, NOBODY, NOBODY)

    def stub(self, name: str, text: str) -> None:
        """Put an executable on the PATH."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start install.sh; the caller waits for it."""
        return subprocess.Popen(
            [str(self.bin / "bash"), str(self.clone / "install.sh"), *arguments],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh to its end."""
        with self.start(*arguments, **environment) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def calls(self) -> list[str]:
        """What was called since the last time that this was asked."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine() -> Iterator[Machine]:
    # not tmp_path: its parents are closed to `nobody`
    with tempfile.TemporaryDirectory(prefix="edged-install-") as folder:
        yield Machine(Path(folder))


def installs(calls: list[str]) -> list[str]:
    return [call for call in calls if call.startswith(("pip", "-m venv"))]


@pytest.mark.parametrize("arguments", [(), ("service",), ("upgrade",), ("uninstall",)])
def test_the_service_needs_root_and_without_there_is_run(
    machine: Machine, arguments: tuple[str, ...]
) -> None:
    result = machine.run(*arguments)
    assert "needs root: sudo ./install.sh" in result.stderr
    assert "./install.sh run" in result.stderr
    assert (result.returncode, machine.calls()) == (1, [])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_a_success(machine: Machine, flag: str) -> None:
    result = machine.run(flag)
    assert result.returncode == 0
    assert "usage" in result.stdout


def test_an_unknown_verb_is_named(machine: Machine) -> None:
    result = machine.run("serve")
    assert result.returncode == 2
    assert "unknown verb: serve" in result.stderr


def test_run_sets_up_pulls_and_serves_with_the_arguments(machine: Machine) -> None:
    result = machine.run("run", "--port", "0")
    calls = machine.calls()
    assert result.returncode == 0, result.stderr
    assert [call.split()[1] for call in calls if call.startswith("pip")] == [
        "download",
        "wheel",
        "install",
        "install",
    ]
    assert calls[-2:] == [
        f"edged pull --no-verify --config {machine.clone}/config/edged.yaml minilm smollm2",
        f"edged run --config {machine.clone}/config/edged.yaml --port 0",
    ]


@pytest.mark.parametrize("arguments", [("--config", "mine.yaml"), ("--port", "0", "--config=mine.yaml")])
def test_the_shipped_models_are_not_pulled_for_another_configuration(
    machine: Machine, arguments: tuple[str, ...]
) -> None:
    machine.run("run", *arguments)
    assert [call for call in machine.calls() if call.startswith("edged pull")] == []


def test_the_second_run_installs_nothing(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    result = machine.run("run", FAIL_PIP="install")
    assert result.returncode == 0, result.stderr
    assert installs(machine.calls()) == []
    assert "done" not in result.stderr


def test_development_extras_come_when_test_asks_for_them_and_stay(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    assert machine.run("test").returncode != 0  # the stand-in has no ruff
    assert installs(machine.calls()) == [f"pip install --editable {machine.clone}[dev]"]
    machine.run("run")
    assert installs(machine.calls()) == []


@pytest.mark.parametrize("changed", ["pyproject.toml", "edged/runner/lazymap.c", "install.sh"])
def test_what_the_packages_are_made_from_is_watched(machine: Machine, changed: str) -> None:
    machine.run("run")
    machine.calls()
    with (machine.clone / changed).open("a") as file:
        file.write("\n")
    machine.run("run")
    assert installs(machine.calls()) == [f"pip install --editable {machine.clone}"]


def test_a_moved_clone_gets_a_new_environment_and_the_cached_llama(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    machine.clone = machine.clone.rename(machine.clone.with_name("moved"))
    assert machine.run("run").returncode == 0
    called = [" ".join(call.split()[:2]) for call in installs(machine.calls())]
    assert called == ["-m venv", "pip install", "pip install"]


def test_another_compiler_builds_llama_anew(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    machine.stub("c++", "#!/usr/bin/env bash\necho 'c++ 2.0'\n")
    (machine.clone / ".venv/edged-stamp").unlink()
    machine.run("run")
    assert any(call.startswith("pip wheel") for call in machine.calls())


def test_no_python_says_which_one_is_needed(machine: Machine) -> None:
    machine.stub("python3", "#!/usr/bin/env bash\nexit 1\n")  # older than 3.11
    result = machine.run("run")
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr
    assert not (machine.clone / ".venv").exists()


def test_missing_packages_without_root_are_named_in_one_command(machine: Machine) -> None:
    for tool in ("c++", "ninja"):
        (machine.bin / tool).unlink()
    machine.stub("pkg-config", "#!/usr/bin/env bash\nexit 1\n")
    machine.stub("apt-get", '#!/usr/bin/env bash\necho apt-get >>"$CALLS"\n')
    result = machine.run("run")
    assert result.returncode == 1
    assert "sudo apt-get install g++ ninja-build libsystemd-dev" in result.stderr
    assert machine.calls() == []


def test_missing_packages_with_sudo_are_installed(machine: Machine) -> None:
    (machine.bin / "ninja").unlink()
    machine.stub("sudo", '#!/usr/bin/env bash\n[[ $1 != -n ]] || shift\n[[ $1 == true ]] || "$@"\n')
    installs_ninja = f"[[ $* != *install* ]] || ln -s '{machine.bin}/cmake' '{machine.bin}/ninja'"
    machine.stub("apt-get", f'#!/usr/bin/env bash\necho "apt-get $*" >>"$CALLS"\n{installs_ninja}\n')
    result = machine.run("run")
    assert result.returncode == 0, result.stderr
    apt = [call for call in machine.calls() if call.startswith("apt-get")]
    assert apt[0].endswith("update")
    assert apt[1].endswith("install -y --no-install-recommends ninja-build")


def test_a_failed_step_says_which_why_and_what_to_do_and_leaves_nothing(machine: Machine) -> None:
    result = machine.run("run", FAIL_PIP="download")
    assert result.returncode == 1
    assert "failed: fetch llama-cpp-python" in result.stderr
    assert "Could not fetch URL" in result.stderr
    assert "what to do: check the network" in result.stderr
    assert [call.split()[1] for call in machine.calls() if call.startswith("pip")] == ["download"] * 3
    assert not (machine.clone / ".venv").exists()
    assert list(machine.clone.parent.glob(".cache/edged/build.*")) == []


def test_a_failed_compilation_is_not_tried_again(machine: Machine) -> None:
    assert machine.run("run", FAIL_PIP="wheel").returncode == 1
    assert sum(call.startswith("pip wheel") for call in machine.calls()) == 1


def test_a_failed_update_keeps_the_environment_and_the_next_run_finishes_it(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    (machine.clone / "pyproject.toml").write_text("changed")
    assert machine.run("run", FAIL_PIP="install").returncode == 1
    machine.calls()
    assert machine.run("run").returncode == 0
    assert installs(machine.calls()) == [f"pip install --editable {machine.clone}"]


def test_a_killed_build_is_thrown_away_and_redone(machine: Machine) -> None:
    machine.run("run")
    (machine.clone / ".venv/edged-building").touch()
    (machine.clone / ".venv/half").touch()
    machine.calls()
    assert machine.run("run").returncode == 0
    assert installs(machine.calls())[0].startswith("-m venv")
    assert not (machine.clone / ".venv/half").exists()


def test_a_removal_that_was_cut_off_is_finished(machine: Machine) -> None:
    gone = machine.clone / ".venv.gone"
    gone.mkdir()
    if os.geteuid() == 0:
        os.chown(gone, NOBODY, NOBODY)
    machine.run("run")
    assert not gone.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_step_and_leaves_nothing(machine: Machine, number: signal.Signals) -> None:
    os.mkfifo(hanging := f"{machine.calls_file}.hanging")
    Path(hanging).chmod(0o666)
    told = os.open(hanging, os.O_RDWR)
    process = machine.start("run", HANG_PIP="wheel")
    try:
        assert select.select([told], [], [], 60)[0], "the build never began"
    finally:
        os.close(told)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)  # ends only when the step has closed them
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert not (machine.clone / ".venv").exists()
    assert list(machine.clone.parent.glob(".cache/edged/build.*")) == []


def test_a_foreign_environment_is_not_deleted(machine: Machine) -> None:
    theirs = machine.clone / ".venv/bin/python"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    if os.geteuid() == 0:
        for path in (theirs, theirs.parent, theirs.parent.parent):
            os.chown(path, NOBODY, NOBODY)
    result = machine.run("run")
    assert result.returncode == 1
    assert "was not made by install.sh" in result.stderr
    assert theirs.exists()


def test_the_interpreter_that_is_no_longer_there_is_replaced(machine: Machine) -> None:
    machine.run("run")
    machine.calls()
    (machine.clone / ".venv/bin/python").unlink()
    assert machine.run("run").returncode == 0
    assert installs(machine.calls())[0].startswith("-m venv")


def test_a_second_install_waits_for_the_first(machine: Machine) -> None:
    machine.run("run")
    holder = os.open(machine.clone, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        process = machine.start("run")
        assert process.stderr is not None
        assert "another install.sh is at work" in process.stderr.readline()
    finally:
        os.close(holder)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_ci_runs_the_same_checks() -> None:
    text = (REPOSITORY / ".ci/run").read_text()
    assert text.rstrip().endswith("exec ./install.sh test")
    assert os.access(REPOSITORY / ".ci/run", os.X_OK)
    assert os.access(REPOSITORY / "install.sh", os.X_OK)
