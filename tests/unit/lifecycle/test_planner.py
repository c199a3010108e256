"""Planning for files that lie on this machine."""

from pathlib import Path

import pytest

from edged.config.schema import Config, Model, Storage
from edged.lifecycle.planner import plan_models
from edged.policy.types import Measured
from tests.gguf_files import Value, write_tiny_gguf


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.attention.key_length_mla", ("str", "wide")),
        ("llama.expert_used_count", ("u32", 1 << 31)),
    ],
)
def test_a_file_that_makes_no_sense_does_not_spoil_the_other_plans(
    tmp_path: Path, key: str, value: Value
) -> None:
    write_tiny_gguf(tmp_path / "bad.gguf", metadata={key: value})
    write_tiny_gguf(tmp_path / "good.gguf")
    config = Config(
        storage=Storage(model_dir=str(tmp_path)),
        models={name: Model(file=f"{name}.gguf") for name in ("bad", "good")},
    )
    planned = plan_models(config, Measured())
    assert [plan.model for plan in planned.plans] == ["good"]
    assert key in planned.problems["bad"]
