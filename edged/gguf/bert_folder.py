"""Reads a sentence-transformers folder's settings and vocabulary, and refuses what is no plain BERT."""

import json
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from edged.errors import ModelFileError

# Functions near enough to the one that llama.cpp computes for BERT (GELU by its tanh approximation).
_ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
_POOLING: dict[str, Literal["mean", "cls", "last"]] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_SPECIAL = {"cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}
_MAX_JSON_BYTES = 16 << 20
_MAX_VOCABULARY_BYTES = 64 << 20
_Value = TypeVar("_Value")


class TokenKind(IntEnum):
    """What GGUF says about each token."""

    NORMAL = 1
    CONTROL = 3
    UNUSED = 5


class Vocabulary(NamedTuple):
    """Tokens in the order of their ids, as llama.cpp wants them, and the ids of the special ones."""

    tokens: tuple[str, ...]
    kinds: tuple[TokenKind, ...]
    special_ids: dict[str, int]  # cls, sep, unk, pad, mask
    lowercase: bool
    strip_accents: bool


class BertSettings(NamedTuple):
    """What config.json and the pooling module say."""

    name: str
    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_ff: int
    n_positions: int
    n_token_types: int
    norm_epsilon: float
    pooling: Literal["mean", "cls", "last"]


def read_settings(folder: Path) -> BertSettings:
    """The model's shape. Raises ModelFileError where the folder holds anything but a plain BERT."""
    path = folder / "config.json"
    config = _table(path)
    if config.get("model_type") != "bert":
        raise _refuse(
            path, f"model_type is {config.get('model_type')!r}; only plain BERT models can be converted"
        )
    if config.get("hidden_act", "gelu") not in _ACTIVATIONS:
        raise _refuse(
            path, f"hidden_act is {config['hidden_act']!r}, expected one of {', '.join(_ACTIVATIONS)}"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise _refuse(path, "position_embedding_type must be absolute")
    if config.get("is_decoder", False) or config.get("add_cross_attention", False):
        raise _refuse(path, "it is a decoder; only encoders can be converted")
    source = config.get("_name_or_path")
    settings = BertSettings(
        name=(source if isinstance(source, str) and source else folder.resolve().name)
        .rstrip("/")
        .split("/")[-1],
        n_vocab=_whole(path, config, "vocab_size"),
        n_embd=_whole(path, config, "hidden_size"),
        n_layer=_whole(path, config, "num_hidden_layers"),
        n_head=_whole(path, config, "num_attention_heads"),
        n_ff=_whole(path, config, "intermediate_size"),
        n_positions=_whole(path, config, "max_position_embeddings"),
        n_token_types=_whole(path, config, "type_vocab_size"),
        norm_epsilon=_epsilon(path, config.get("layer_norm_eps", 1e-12)),
        pooling=_pooling(folder),
    )
    if settings.n_embd % settings.n_head:
        raise _refuse(path, f"hidden_size {settings.n_embd} is no multiple of {settings.n_head} heads")
    return settings


def read_vocabulary(folder: Path, n_vocab: int) -> Vocabulary:
    """The WordPiece vocabulary in llama.cpp's spelling: `##ing` becomes `ing`, `walk` becomes `▁walk`."""
    words = _words(folder / "vocab.txt", n_vocab)
    path = folder / "tokenizer_config.json"
    config = _table(path)
    # llama.cpp always does both.
    for key in ("tokenize_chinese_chars", "do_basic_tokenize"):
        if config.get(key, True) is not True:
            raise _refuse(path, f"{key} must be true")
    ids = {word: index for index, word in reversed(list(enumerate(words)))}
    special = {role: _special_id(path, config, role, ids) for role in _SPECIAL}
    lowercase = _flag(path, config, "do_lower_case", True)
    strip_accents = _flag(path, config, "strip_accents", lowercase)
    sentence = folder / "sentence_bert_config.json"
    if sentence.exists():  # lower-cases before the tokenizer sees the text
        lowercase = _flag(sentence, _table(sentence), "do_lower_case", False) or lowercase
    unused = range(len(words), n_vocab)
    control = set(special.values())
    return Vocabulary(
        tokens=(
            *(word if index in control else _piece(word) for index, word in enumerate(words)),
            *(f"[PAD{index}]" for index in unused),
        ),
        kinds=(
            *(TokenKind.CONTROL if index in control else TokenKind.NORMAL for index in range(len(words))),
            *(TokenKind.UNUSED for _ in unused),
        ),
        special_ids=special,
        lowercase=lowercase,
        strip_accents=strip_accents,
    )


def _piece(word: str) -> str:
    return word[2:] if word.startswith("##") and len(word) > 2 else "\u2581" + word


def _words(path: Path, n_vocab: int) -> Sequence[str]:
    raw = _bytes(path, _MAX_VOCABULARY_BYTES)
    try:
        # Only line feeds end a token: splitlines would also cut at the Unicode separators that are tokens.
        words = [line.removesuffix("\r") for line in raw.decode().removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise _refuse(path, "it is not UTF-8") from error
    if len(words) > n_vocab:
        raise _refuse(path, f"it has {len(words)} tokens, config.json announces {n_vocab}")
    if "" in words:
        raise _refuse(path, f"line {words.index('') + 1} is empty")
    return words


def _special_id(path: Path, config: dict[str, Any], role: str, ids: dict[str, int]) -> int:
    value = config.get(f"{role}_token", _SPECIAL[role])
    if isinstance(value, dict):  # written so by newer tokenizers
        value = value.get("content")
    if not isinstance(value, str) or value not in ids:
        raise _refuse(path, f"{role}_token is {value!r}, which vocab.txt does not have")
    return ids[value]


def _pooling(folder: Path) -> Literal["mean", "cls", "last"]:
    path = folder / "modules.json"
    modules = _json(path)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise _refuse(path, "expected a list of modules")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Normalize" for kind in kinds[2:]):
        raise _refuse(path, f"its modules are {', '.join(kinds)}; expected Transformer, Pooling, Normalize")
    part = modules[1].get("path")
    if not isinstance(part, str) or Path(part).is_absolute() or ".." in Path(part).parts:
        raise _refuse(path, f"the pooling module's path is {part!r}")
    config = _table(folder / part / "config.json")
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _POOLING:
        raise _refuse(
            folder / part / "config.json", "expected exactly one of mean, cls and last-token pooling"
        )
    return _POOLING[chosen[0]]


def _whole(path: Path, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 24:
        raise _refuse(path, f"{key} is {value!r}, expected a whole number above 0")
    return value


def _epsilon(path: Path, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise _refuse(path, f"layer_norm_eps is {value!r}, expected a small number")
    return float(value)


def _flag(path: Path, config: dict[str, Any], key: str, default: bool) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _refuse(path, f"{key} is {value!r}, expected true or false")
    return value


def _table(path: Path) -> dict[str, Any]:
    value = _json(path)
    if not isinstance(value, dict):
        raise _refuse(path, "expected a JSON object")
    return value


def _json(path: Path) -> Any:
    try:
        return json.loads(_bytes(path, _MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"it is not JSON: {error}") from error


def _bytes(path: Path, max_bytes: int) -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        reason = (
            f"cannot be read ({error.strerror}); a sentence-transformers folder has this file, pull it again"
        )
        raise ModelFileError(f"{path}: {reason}") from error
    if len(raw) > max_bytes:
        raise _refuse(path, f"it is longer than {max_bytes} bytes")
    return raw


def _refuse(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be converted: {why}")
