"""Answers held to JSON schemas: whether all of them parse and fulfil theirs, and what holding them costs.

Run it as any user: `.venv/bin/python -m tests.bench.structured --help`; README.md beside this file says more.
"""

import concurrent.futures
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import jsonschema  # type: ignore[import-untyped]
import yaml

from edged.config.paths import model_dir
from edged.config.schema import Config
from tests.answer_schemas import SCHEMAS
from tests.bench.report import print_table
from tests.e2e.daemon import Daemon

_AT_ONCE = 4
_MAX_TOKENS = 1024


class Answer(NamedTuple):
    """What came of one request."""

    problem: str | None  # why it is no instance of its schema
    n_tokens: int
    took_s: float


@click.command()
@click.option("--answers", default=10, show_default=True, help="Of each of the 20 schemas.")
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the first answer to each schema.")
@click.option("--model", default="smollm2", show_default=True)
@click.option("--model-dir", type=click.Path(path_type=Path), help="Default: where `edged pull` puts models.")
def main(answers: int, temperature: float, seed: int, model: str, model_dir: Path | None) -> None:
    """Ask for answers to each schema; exit with 1 where one does not parse or does not fulfil it."""
    options = {"temperature": temperature, "max_tokens": _MAX_TOKENS}
    with tempfile.TemporaryDirectory() as folder, _daemon(Path(folder), model, model_dir) as daemon:
        daemon.wait_ready()
        made = {
            name: _ask_for(daemon, model, name, [options | {"seed": seed + n} for n in range(answers)])
            for name in SCHEMAS
        }
    n_valid = _print(made)
    if n_valid < answers * len(SCHEMAS):
        sys.exit(1)


def _daemon(folder: Path, model: str, models: Path | None) -> Daemon:
    file = (models or model_dir(Config())) / f"{model}.gguf"
    settings = {"storage": {"state_dir": f"{folder}/state"}, "models": {model: {"file": str(file)}}}
    (folder / "edged.yaml").write_text(yaml.safe_dump(settings))
    return Daemon(folder / "edged.yaml")


def _ask_for(daemon: Daemon, model: str, name: str, asked: list[dict[str, Any]]) -> list[Answer]:
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda options: _ask(daemon, model, name, options), asked))


def _ask(daemon: Daemon, model: str, name: str, options: dict[str, Any]) -> Answer:
    schema = {"name": "answer", "strict": True, "schema": SCHEMAS[name]}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Describe {name} as JSON."}],
        "response_format": {"type": "json_schema", "json_schema": schema},
        **options,
    }
    begin_s = time.monotonic()
    status, answer = daemon.call("POST", "/v1/chat/completions", body)
    took_s = time.monotonic() - begin_s
    if status != 200:
        return Answer(f"{status}: {answer}", 0, took_s)
    [choice] = answer["choices"]
    return Answer(_problem(SCHEMAS[name], choice), answer["usage"]["completion_tokens"], took_s)


def _problem(schema: Any, choice: Any) -> str | None:
    """What is wrong with an answer."""
    if choice["finish_reason"] != "stop":
        return f"ended by {choice['finish_reason']}"
    validator = jsonschema.Draft202012Validator
    try:
        instance = json.loads(choice["message"]["content"])
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(instance)
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).partition("\n")[0]
    return None


def _print(made: dict[str, list[Answer]]) -> int:
    """A table; returns how many answers are valid."""
    rows = []
    for name, answers in made.items():
        problem = next((answer.problem for answer in answers if answer.problem), "")
        valid = sum(answer.problem is None for answer in answers)
        tokens = statistics.median(answer.n_tokens for answer in answers)
        took_s = statistics.median(answer.took_s for answer in answers)
        rows.append((name, problem, f"{valid}/{len(answers)}", f"{tokens:.0f}", f"{took_s:.2f}"))
    everything = [answer for answers in made.values() for answer in answers]
    n_valid = sum(answer.problem is None for answer in everything)
    n_tokens = sum(answer.n_tokens for answer in everything)
    caption = f"{n_valid} of {len(everything)} answers parse and fulfil their schema; {n_tokens} tokens."
    columns = ("schema", "first problem", "valid", "tokens", "seconds")
    print_table("Structured answers", caption, columns, rows)
    return n_valid


if __name__ == "__main__":
    main()
