"""Plans for runners that hold no model."""

from edged.policy.types import Kind, LoadPlan, Prediction


def fake_plan(model: str = "m", path: str = "m.gguf", *, at_start: bool = True) -> LoadPlan:
    """A small streamed plan; `fake:` paths are run by `edged.runner.fake`."""
    return LoadPlan(
        model=model,
        path=path,
        kind=kind_of(path),
        strategy="stream",
        load_at_start=at_start,
        repack=False,
        n_ctx=64,
        n_seq_max=2,
        n_batch=64,
        n_ubatch=64,
        type_k="f16",
        type_v="f16",
        n_threads=1,
        prefetch=(),
        random_access=(),
        mlock_bytes=0,
        predicted=Prediction(file_bytes=1000, anon_bytes=0, ready_s=3.0, first_answer_s=4.0),
        reasons=("it is not real",),
    )


def kind_of(path: str) -> Kind:
    """What a fake model is for."""
    kinds: tuple[Kind, ...] = ("embed", "rank")
    return next((kind for kind in kinds if path.startswith(f"fake:{kind}")), "generate")
