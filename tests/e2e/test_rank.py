"""A cross-encoder's scores, against a BERT written for the tests and llama-server's order of tokens."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edged.config.schema import Model as ModelSettings
from edged.errors import InvalidRequest
from edged.gguf.convert import convert
from edged.gguf.header import read_header
from edged.policy.settings import impossible, kind_of
from edged.policy.types import ModelInput
from edged.runner import protocol
from edged.runner.engine.embed import SCORES, EmbedWorker
from edged.runner.engine.lease import Lease
from edged.runner.intake import Intake
from edged.runner.model import Context, Model
from tests.cross_encoder import head, write_cross_encoder
from tests.e2e.daemon import Daemon
from tests.reference.bert import ReferenceBert

QUERY = "Which animal lives in the arctic?"
DOCUMENTS = (
    "Polar bears hunt seals on the ice of the far north.",
    "The stock market fell for the third day in a row.",
    "Text that names [SEP] and [CLS] is only text.",
    " ".join(["A long document about bears, foxes and whales."] * 8),
)
_TEMPLATE = "[CLS]{query}[SEP]{document}"


@pytest.fixture(name="cross", scope="module")
def _cross(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross")
    convert(minilm_folder, folder / "minilm.gguf", "f16")
    return write_cross_encoder(folder / "minilm.gguf", folder / "cross.gguf")


def _scores(path: Path, *requests: protocol.Rank) -> list[protocol.FromRunner]:
    """What a runner sends for requests that come at once."""
    start = protocol.Start(
        path=str(path), kind="rank", wait_for_prefetch=False, warmup=False, repack=False, n_ctx=512,
        n_seq_max=8, n_batch=512, n_ubatch=512, type_k="f16", type_v="f16", n_threads=1, prefetch=(),
        random_access=(), mlock_bytes=0, max_queue_tokens=1 << 20, max_queue_requests=9,
    )  # fmt: skip
    model = Model(start)
    context = Context(model, start, ctypes.c_int(0))
    sent: list[protocol.FromRunner] = []
    try:
        intake = Intake(model, context.n_ctx, 1)
        worker = EmbedWorker(context, Lease(None), sent.append, 9, 1 << 20, SCORES)
        worker.warm()
        for request in requests:
            worker.add(intake.rank_job(request))
        while not worker.idle:
            worker.step()
    finally:
        context.close()
        model.close()
    return sent


def _expected(folder: Path, query: str, document: str) -> tuple[float, int]:
    """The score of a pair, and its number of tokens: [CLS] query [SEP] document, as llama-server has it."""
    bert, weights = ReferenceBert(folder), head(384)
    tokens = bert.tokenizer.encode(query) + bert.tokenizer.encode(document)[1:-1]
    first = bert.hidden(tokens)[0]
    inner = np.tanh(weights["cls.weight"] @ first + weights["cls.bias"])
    return float((weights["cls.output.weight"] @ inner + weights["cls.output.bias"])[0]), len(tokens)


def _templated(cross: Path, template: str) -> Path:
    """The same model with a template of its own."""
    bert, target = cross.with_name("minilm.gguf"), cross.with_name("template.gguf")
    return write_cross_encoder(bert, target, tokenizer__chat_template__rerank=template)


def _tokens_of(path: Path, query: str, document: str) -> int:
    """How many tokens a pair has."""
    [scores] = _scores(path, protocol.Rank(id=1, query=query, documents=(document,)))
    assert isinstance(scores, protocol.Scores)
    return scores.n_tokens


def test_scores_are_those_of_the_reference(cross: Path, minilm_folder: Path) -> None:
    together = protocol.Rank(id=1, query=QUERY, documents=DOCUMENTS)
    alone = protocol.Rank(id=2, query=QUERY, documents=DOCUMENTS[:1])
    found = {
        frame.id: frame for frame in _scores(cross, together, alone) if isinstance(frame, protocol.Scores)
    }
    expected = [_expected(minilm_folder, QUERY, document) for document in DOCUMENTS]
    assert found[1].scores == pytest.approx([score for score, _ in expected], abs=0.02)
    assert found[1].n_tokens == sum(n_tokens for _, n_tokens in expected)
    assert found[2].scores == pytest.approx(found[1].scores[:1], abs=1e-3)
    assert max(found[1].scores) - min(found[1].scores) > 0.5, "a score depends on the document"


def test_a_daemon_ranks_with_it(cross: Path, start: Callable[..., Daemon]) -> None:
    daemon = start(
        f"models.cross.file={cross}", "models.smollm2.preload=false", "models.minilm.preload=false"
    )
    status, answer = daemon.call("POST", "/v1/rerank", {"query": QUERY, "documents": DOCUMENTS, "top_n": 2})
    assert status == 200, answer
    [scores] = _scores(cross, protocol.Rank(id=1, query=QUERY, documents=DOCUMENTS))
    assert isinstance(scores, protocol.Scores)
    best = sorted(range(len(DOCUMENTS)), key=lambda index: -scores.scores[index])[:2]
    assert [each["index"] for each in answer["results"]] == best
    assert answer["results"][0]["relevance_score"] == pytest.approx(scores.scores[best[0]], abs=1e-3)
    status, refused = daemon.call("POST", "/v1/embeddings", {"model": "cross", "input": "a"})
    assert (status, refused["error"]["param"]) == (400, "model")
    assert "ranks documents (/v1/rerank)" in refused["error"]["message"]


def test_a_file_that_is_no_cross_encoder_says_so(cross: Path) -> None:
    one = ModelInput(id="m", model=ModelSettings(file="m.gguf"), header=read_header(cross))
    assert kind_of(one) == "rank"
    embed = impossible(one, "embed")
    assert embed is not None
    assert "gives scores, not vectors: set models.m.kind to rank" in embed
    plain = ModelInput(id="m", model=one.model, header=read_header(cross.with_name("minilm.gguf")))
    assert kind_of(plain) == "embed"
    assert "no classifier" in (impossible(plain, "rank") or "")


def test_a_pair_that_is_too_long_is_named(cross: Path) -> None:
    request = protocol.Rank(id=1, query=QUERY, documents=("short", "word " * 600))
    with pytest.raises(InvalidRequest, match=r"documents\[1\]: .* 6\d\d tokens, more .* limit of 512"):
        _scores(cross, request)


@pytest.mark.parametrize("template", [None, _TEMPLATE])
def test_documents_are_cut_where_that_is_asked_for(cross: Path, template: str | None) -> None:
    """As if they ended where the room does."""
    path = cross if template is None else _templated(cross, template)
    words = ["word"] * 600
    n_words = 512 - _tokens_of(cross, QUERY, "")
    requests = [
        protocol.Rank(id=1, query=QUERY, documents=(" ".join(words), "short"), truncate=True),
        protocol.Rank(id=2, query=QUERY, documents=(" ".join(words[:n_words]), "short")),
    ]
    cut, exact = _scores(path, *requests)
    assert isinstance(cut, protocol.Scores)
    assert isinstance(exact, protocol.Scores)
    assert cut.n_tokens == exact.n_tokens
    assert cut.scores == pytest.approx(exact.scores, abs=1e-3)
    with pytest.raises(InvalidRequest, match=r"query: .* shorten it$"):
        _scores(path, protocol.Rank(id=1, query="word " * 600, documents=("a",), truncate=True))


def test_a_template_of_the_file_is_followed(cross: Path) -> None:
    """Qwen's rerankers have one. What it spells out is read as control tokens, what users write is not."""
    path = _templated(cross, _TEMPLATE)
    request = protocol.Rank(id=1, query=QUERY, documents=DOCUMENTS[:3])
    [plain], [rendered] = _scores(cross, request), _scores(path, request)
    assert isinstance(plain, protocol.Scores)
    assert isinstance(rendered, protocol.Scores)
    assert rendered.scores == pytest.approx(plain.scores, abs=1e-3)
    assert rendered.n_tokens == plain.n_tokens
