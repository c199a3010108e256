"""install.sh on a machine, run from a copy of this repository as from a clone."""

import shutil
import time
from pathlib import Path

from tests.systemd.machine import Machine, wait_until

_CLONE = "/root/edged"
_NOT_CLONED = (
    ".git",
    ".venv",
    ".install.log",
    "__pycache__",
    "*.so",
    "*.egg-info",
    "build",
    "dist",
    ".*_cache",
    ".hypothesis",
)
_AN_INSTALLATION_S = 180.0
_READY_TIMEOUT = "READY_TIMEOUT_S=60"
_HALF_WAY = "versions/*/lib/python*/site-packages/msgspec/__init__.py"
_INTERRUPTED = "edged-interrupted"


class Installer:
    """A clone on the machine; `seconds` keeps what each verb took."""

    WHEELS = "/srv/wheels"

    def __init__(self, machine: Machine, repository: Path) -> None:
        self.machine = machine
        self._repository = repository
        self.before = machine.changed_files()
        self.seconds: dict[str, float] = {}
        self.said = ""  # by the installation
        self.push()

    def push(self) -> None:
        """Lay the clone down as it is here."""
        shutil.rmtree(self.clone, ignore_errors=True)
        self.machine.push(self._repository, _CLONE, _NOT_CLONED)

    @property
    def clone(self) -> Path:
        """The clone, as this machine reaches it."""
        return self.machine.root / _CLONE.lstrip("/")

    def run(self, *arguments: str, check: bool = True) -> tuple[int, str]:
        """Run install.sh; returns its exit code and everything that it printed."""
        began = time.monotonic()
        done = self.machine.run(
            *("env", _READY_TIMEOUT, "sh", "-c", 'exec "$0" "$@" 2>&1', f"{_CLONE}/install.sh", *arguments),
            check=check,
            timeout_s=_AN_INSTALLATION_S,
        )
        self.seconds[arguments[0]] = time.monotonic() - began
        return done.returncode, done.stdout

    def install(self) -> None:
        """`install.sh service`, as on a box without a network."""
        _, self.said = self.run("service", "--wheels", self.WHEELS)

    def install_interrupted(self) -> None:
        """The same, ended half-way as by a power cut: nothing of it survives to clean up."""
        self.machine.run(
            *("systemd-run", f"--unit={_INTERRUPTED}", "--collect", "--setenv=HOME=/root"),
            *(f"{_CLONE}/install.sh", "service", "--wheels", self.WHEELS),
        )
        run = self.machine.run
        wait_until(
            lambda: any((self.machine.root / "opt/edged").glob(_HALF_WAY)),
            lambda: (
                f"it does not come half-way:\n{run('journalctl', '-u', _INTERRUPTED, '--no-pager').stdout}"
            ),
        )
        self.machine.run("systemctl", "kill", "--signal=KILL", _INTERRUPTED)
        wait_until(lambda: self._state(_INTERRUPTED) != "active", lambda: "it survives kill -9")

    def _state(self, unit: str) -> str:
        return self.machine.run("systemctl", "is-active", unit, check=False).stdout.strip()

    def break_clone(self) -> None:
        """Make the clone a version that ends as soon as it is started."""
        with (self.clone / "edged/daemon.py").open("a") as file:
            file.write(
                '\n\ndef run(*_arguments: object) -> None:\n    raise RuntimeError("broken for a test")\n'
            )

    def change_clone(self) -> None:
        """Make the clone another version that works as well."""
        with (self.clone / "edged/daemon.py").open("a") as file:
            file.write("\nNEWER = True\n")

    @property
    def version(self) -> str:
        """The name of the version in use."""
        return self.machine.run("readlink", "-f", "/opt/edged/current").stdout.strip()
