"""Imports go only downwards. One table says what each package may import; lazy imports count as well."""

import ast
import subprocess
import sys
from pathlib import Path

import edged

_ROOT = Path(edged.__file__).parent
_CONTRACT = "runner.protocol, runner.pulse and runner.turns"
_CONTRACT_MODULES = (["runner", "protocol"], ["runner", "pulse"], ["runner", "turns"])
_ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "hw": {"errors"},
    "gguf": {"errors"},
    "store": {"errors", "gguf"},
    "policy": {"errors", "config", "hw", "gguf"},
    "lifecycle": {"errors", "config", "hw", "gguf", "store", "policy", _CONTRACT},
    "api": {"errors", "config", "hw", "policy", "lifecycle", "service", "telemetry", _CONTRACT},
    "doctor": {"errors", "config", "hw", "gguf", "store", "policy", "lifecycle", "service"},
    "runner": {"errors", "gguf"},
    "service": {"errors"},
    "telemetry": {"errors"},
    "daemon": {"errors", "config", "lifecycle", "api", "service", "telemetry"},
    "cli": {"errors", "config", "hw", "gguf", "store", "policy", "lifecycle", "doctor", "daemon", "service"},
    "__main__": {"cli"},
    "__init__": set(),
}


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _package(dotted: str) -> str:
    parts = dotted.split(".")[1:]
    return _CONTRACT if parts[:2] in _CONTRACT_MODULES else (parts or ["__init__"])[0]


def test_every_import_goes_downwards() -> None:
    wrong = []
    for path in sorted(_ROOT.rglob("*.py")):
        own = path.relative_to(_ROOT).parts[0].removesuffix(".py")
        for name in _imported(path):
            if name.split(".")[0] != "edged" or name == "edged.__version__":
                continue
            used = _package(name)
            of_own = used == own or (used == _CONTRACT and own == "runner")
            if not of_own and used not in _ALLOWED[own]:
                wrong.append(f"{path.relative_to(_ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_contract_imports_nothing_but_itself() -> None:
    """Whoever may import it gets no more of the runner than that."""
    modules = [_ROOT.joinpath(*parts) for parts in _CONTRACT_MODULES]
    files = [path for module in modules for path in (*module.rglob("*.py"), module.with_suffix(".py"))]
    imported = {name for path in files if path.exists() for name in _imported(path)}
    assert "edged.runner.protocol.framing.pack" in imported
    assert {_package(name) for name in imported if name.startswith("edged.")} == {_CONTRACT}


def test_only_some_modules_import_llama_cpp() -> None:
    """The engine and all else can be tested without it, and the daemon never imports one of these."""
    users = {
        str(path.relative_to(_ROOT))
        for path in _ROOT.rglob("*.py")
        if any(name.split(".")[0] == "llama_cpp" for name in _imported(path))
    }
    assert users == {f"runner/{name}.py" for name in ("batch", "grammar", "model", "sampler", "vocabulary")}


def test_only_one_module_imports_the_template_engine() -> None:
    """It is imported by the process that renders, and by no runner."""
    users = {
        str(path.relative_to(_ROOT))
        for path in _ROOT.joinpath("runner").rglob("*.py")
        if any(name.split(".")[0] == "jinja2" for name in _imported(path))
    }
    assert users == {"runner/engine/template.py"}


def test_the_daemon_never_loads_what_only_runners_and_verbs_need() -> None:
    """Each of these costs the start time and memory, or can end the process."""
    code = (
        "import sys; import edged.cli.run, edged.daemon, edged.api.app, edged.telemetry.metrics, "
        "edged.lifecycle.planner; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "llama_cpp", "gguf", "huggingface_hub", "rich", "torch"}
    assert not heavy & set(loaded.stdout.split())
