"""What repacking is expected to gain, against numbers that a person can check."""

import pytest

from edged.hw.snapshot import CpuFacts
from edged.policy.repacking import key_of, repacking_of
from edged.policy.types import Measured, RepackGain
from tests.unit.gguf.headers import gemma3, smollm2

_CPU = CpuFacts(architecture="x86_64", model_name="A CPU", instruction_sets=("avx2",))


def _measured(prompt_ratio: float, answer_ratio: float) -> Measured:
    gain = RepackGain(
        prompt_ratio=prompt_ratio,
        answer_ratio=answer_ratio,
        prompt_s_per_weight=1e-11,
        answer_s_per_weight=2e-11,
    )
    return Measured(repack_gains={key_of(_CPU, "build", "Q4_K"): gain})


def test_nothing_to_repack() -> None:
    assert repacking_of(smollm2(), "generate", _CPU, "build", Measured()) is None


def test_a_models_gain_is_that_of_the_part_that_is_repacked() -> None:
    found = repacking_of(gemma3(), "generate", _CPU, "build", _measured(2.0, 1.5))
    assert found is not None
    n_copied = 12.65625 * (1 << 20) / 144 * 256
    n_blocks = sum(
        tensor.dims[0] * tensor.dims[1]
        for tensor in gemma3().tensors
        if len(tensor.dims) == 2 and tensor.name.startswith("blk.")
    )
    assert found.prompt_ratio == pytest.approx(n_blocks / (n_blocks - n_copied / 2))
    assert found.saved_s == pytest.approx(256 * n_copied * 1e-11 / 2)
    assert (found.types, found.not_measured, found.pays) == ((("Q4_K", 2.0),), (), True)


def test_slower_answers_count_and_faster_ones_do_not() -> None:
    faster, same, slower = (
        repacking_of(gemma3(), "generate", _CPU, "build", _measured(2.0, ratio)) for ratio in (2.0, 1.0, 0.2)
    )
    assert faster is not None
    assert same is not None
    assert slower is not None
    assert faster.saved_s == same.saved_s
    assert slower.saved_s < 0
    assert not slower.pays
    embeds = repacking_of(gemma3(), "embed", _CPU, "build", _measured(2.0, 0.2))
    assert embeds is not None
    assert embeds.pays


def test_without_a_measurement_there_is_a_default_and_it_is_said() -> None:
    x86 = repacking_of(gemma3(), "generate", _CPU, "build", Measured())
    arm = repacking_of(gemma3(), "generate", CpuFacts(instruction_sets=("asimd", "asimddp")), "", Measured())
    assert x86 is not None
    assert arm is not None
    assert x86.not_measured == ("Q4_K",)
    assert not x86.pays
    assert "Q4_K" in arm.not_measured
    assert arm.pays
