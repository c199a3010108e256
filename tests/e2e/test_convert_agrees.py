"""The converted MiniLM, run by llama.cpp, against a BERT written for this test alone."""
# ruff: noqa: RUF001 - look-alike letters are what a tokenizer has to tell apart

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edged.gguf.convert import WeightType, convert
from edged.gguf.header import read_header
from tests.reference.bert import Floats, ReferenceBert

_ROOT = Path(__file__).parents[2]
_LONG = " ".join(
    f"The {n}th hiker walked past lake number {n * 37} and wrote a short note." for n in range(200)
)
_PLAIN = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The quick brown fox jumps over the lazy dog",
    "hello",
    "HELLO WORLD, ALL IN CAPITALS",
    "Antidisestablishmentarianism is a pneumonoultramicroscopicsilicovolcanoconiosis of words.",
    "don't can't won't it's o'clock",
    "state-of-the-art, e-mail, x-ray and re-entry",
    "What is the capital of France? Paris!",
    "to be or not to be that is the question",
    "qwrtzpsdfg xkcdvbn",
    "[CLS] special tokens [SEP] in a text [MASK] [PAD] are plain text [UNK]",
    "##ing ##ed",
]
_EMPTY_ISH = [" ", "\t\n", ".", "?!...,;:-()[]{}", "''\"\"``", "\u200b", "\x00\x01\x02"]
_DIGITS = [
    "3.14159265358979 2.71828 1,000,000 -42 1e-9",
    "2024-02-29T23:59:59Z +49 (0)30 123456",
    "0xDEADBEEF 192.168.0.1 fe80::1",
    "½ ² ³ Ⅷ ① ٣٤٥",
]
_CODE = [
    "def f(x: int) -> int:\n    return x ** 2  # square",
    "SELECT * FROM users WHERE id = 1; DROP TABLE users;--",
    '{"model": "minilm", "input": ["a", "b"], "n": 1e3}',
    "for (int i = 0; i < n; ++i) { a[i] += b[i] & 0xff; }",
    "<html><body class='x'>&nbsp;&amp;</body></html>",
    "rm -rf / --no-preserve-root | tee $HOME/log.txt && echo ~`whoami`^2",
    "C:\\Users\\me\\file.txt https://example.org/a?b=c&d=%20#top",
]
_ACCENTS = [
    "Café crème à la façade, naïve señor übermäßig",
    "Cafe\u0301 with a combining accent",
    "Ångström, Dvořák, Łódź, İstanbul, Reykjavík, Þór, œuvre",
    "Tiếng Việt có nhiều dấu thanh điệu",
    "Ｆｕｌｌ　ｗｉｄｔｈ　ｌｅｔｔｅｒｓ",
    "ﬁne ligatures ﬂow, ǅungla, ŉ",
]
_SCRIPTS = [
    "我想在苹果公司工作。",
    "東京は日本の首都です。カタカナ と ひらがな",
    "mixed 中文 and English混在text",
    "Привет, как дела? Ёжик и й",
    "Γειά σου Κόσμε, ΟΔΥΣΣΕΥΣ",
    "مرحبا بالعالم، كيف الحال؟",
    "שלום עולם",
    "สวัสดีชาวโลก",
    "𠀀𠀁 rare ideographs 豈",
]
_SYMBOLS = [
    "🚀 launch 😶\u200d🌫️ emoji 👩\u200d👩\u200d👧 🦙🦙",
    "I ❤️ you ✅ ☃ ♥",
    "€100 £20 ¥3000 $5 ₿1 §7 ©2024 ® ™ °C ± × ÷",
    "“curly quotes” ‘single’ — dash – en … ellipsis • bullet ¿qué? ¡sí! «guillemets»",
    "∑ ∫ √ ∞ ≠ ≤ α β → ⇒ 数学",
    "soft\u00adhyphen zero\u200bwidth no\u00a0break\u2003space \ufeffmark",
]
# Where llama.cpp's tokenizer departs from BERT's, found by comparing every code point. It keeps only the
# first letter of a Korean syllable, drops spacing and enclosing marks (most Indic vowel signs), spells out
# words of over 100 letters instead of giving up on them, and takes \v, \f and U+0085 for spaces. Nothing that
# a GGUF file can say changes that.
_TOKENISED_OTHERWISE = ["안녕하세요 세계", "नमस्ते दुनिया", "a" * 150, "line\vfeed"]


class Answer(NamedTuple):
    """What llama.cpp made of one text."""

    tokens: list[int]
    vector: Floats


@pytest.fixture(scope="module")
def reference(minilm_folder: Path) -> ReferenceBert:
    return ReferenceBert(minilm_folder)


@pytest.fixture(scope="module")
def texts(reference: ReferenceBert) -> list[str]:
    """The last two take 511 and 512 tokens: there are 512 positions."""
    count = reference.tokenizer.encode
    words = iter(_LONG.split())
    long = next(words)
    while len(count(long)) < 490:
        long += " " + next(words)
    long += " a" * (511 - len(count(long)))
    groups = (_PLAIN, _EMPTY_ISH, _DIGITS, _CODE, _ACCENTS, _SCRIPTS, _SYMBOLS)
    return [text for group in groups for text in group] + [long, long + " b"]


@pytest.fixture(scope="module")
def vectors(reference: ReferenceBert, texts: list[str]) -> list[Floats]:
    return [reference.embed(text) for text in texts]


def _answers(model: Path, texts: list[str]) -> list[Answer]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reference.llama_vectors", str(model)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(each["tokens"], np.array(each["vector"], np.float32)) for each in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("weight_type", "least", "size_bytes"),
    [("f16", 0.9999, 46_223_424), ("bf16", 0.999, 46_223_424), ("q8_0", 0.995, 25_282_240)],
)
def test_vectors_agree_with_the_reference(
    weight_type: WeightType,
    least: float,
    size_bytes: int,
    minilm_folder: Path,
    reference: ReferenceBert,
    texts: list[str],
    vectors: list[Floats],
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.gguf"
    convert(minilm_folder, model, weight_type)
    answers = _answers(model, texts)

    expected = [reference.tokenizer.encode(text) for text in texts]
    assert len(texts) >= 50
    assert [len(tokens) for tokens in expected[-2:]] == [511, 512]
    assert [answer.tokens for answer in answers] == expected
    cosines = [float(answer.vector @ vector) for answer, vector in zip(answers, vectors, strict=True)]
    assert [(text, cosine) for text, cosine in zip(texts, cosines, strict=True) if not cosine >= least] == []
    assert model.stat().st_size == size_bytes


def test_where_tokens_differ_the_vectors_still_agree(
    minilm_folder: Path, reference: ReferenceBert, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    convert(minilm_folder, model, "f16")
    for answer in _answers(model, _TOKENISED_OTHERWISE):
        assert float(answer.vector @ reference.embed_tokens(answer.tokens)) >= 0.9999


def test_meaning_ranks_as_in_the_reference(minilm_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    convert(minilm_folder, model, "q8_0")
    food, bread, train = (
        answer.vector
        for answer in _answers(
            model,
            ["A man is eating food.", "A man is eating a piece of bread.", "The train leaves at noon."],
        )
    )
    # 0.7553 is what sentence-transformers gives for this model.
    assert float(food @ bread) == pytest.approx(0.7553, abs=0.01)
    assert float(food @ train) < 0.2


def test_the_header_reader_reads_what_was_converted(minilm_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    convert(minilm_folder, model, "q8_0")
    header = read_header(model)
    assert (header.architecture, header.pooling_type, header.is_embedding_model) == ("bert", "mean", True)
    assert (header.n_layer, header.n_embd, header.n_head, header.n_ctx_train) == (6, 384, (12,) * 6, 512)
    assert (header.n_vocab, header.vocabulary_type, header.has_chat_template) == (30522, "bert", False)
