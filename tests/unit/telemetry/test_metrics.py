"""What /metrics says, read back with the client's own parser."""

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from edged.lifecycle.status import ModelStatus
from edged.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by name and label values, these in the order of their labels' names."""
    text = metrics.render()[0].decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_and_tokens_are_counted() -> None:
    metrics = Metrics()
    metrics.answered("/v1/embeddings", 200, 0.1)
    metrics.answered("/v1/embeddings", 200, 0.2)
    metrics.answered("/v1/embeddings", 429, 0.001)
    metrics.tokens("smollm2", prompt=10, cached=4, generated=3)
    metrics.first_token("smollm2", 0.5)
    seen = samples(metrics)
    assert seen["edged_requests_total", "/v1/embeddings", "200"] == 2
    assert seen["edged_requests_total", "/v1/embeddings", "429"] == 1
    assert seen["edged_request_duration_seconds_sum", "/v1/embeddings"] == pytest.approx(0.301)
    assert seen["edged_tokens_total", "prompt", "smollm2"] == 10
    assert seen["edged_tokens_total", "cached", "smollm2"] == 4
    assert seen["edged_tokens_total", "generated", "smollm2"] == 3
    assert seen["edged_time_to_first_token_seconds_count", "smollm2"] == 1


def test_cold_starts_by_cause_and_phase() -> None:
    metrics = Metrics()
    metrics.cold_start("minilm", "boot", "mapped", 0.4)
    metrics.cold_start("minilm", "boot", "ready", 1.5)
    metrics.cold_start("minilm", "crash", "ready", 0.5)
    metrics.read("minilm", "boot", "ready", 25_000_000, 12)
    metrics.read("minilm", "crash", "ready", 0, 0)
    metrics.read("minilm", "crash", "first_token", None, 3)
    metrics.restarted("minilm")
    seen = samples(metrics)
    assert seen["edged_cold_start_seconds_sum", "boot", "minilm", "mapped"] == 0.4
    assert seen["edged_cold_start_seconds_sum", "boot", "minilm", "ready"] == 1.5
    assert seen["edged_cold_start_seconds_count", "crash", "minilm", "ready"] == 1
    assert seen["edged_cold_start_read_bytes_sum", "boot", "minilm", "ready"] == 25_000_000
    assert seen["edged_cold_start_read_bytes_bucket", "crash", "0.0", "minilm", "ready"] == 1
    assert ("edged_cold_start_read_bytes_count", "crash", "minilm", "first_token") not in seen  # unknown
    assert seen["edged_cold_start_major_faults_sum", "crash", "minilm", "first_token"] == 3
    assert seen["edged_restarts_total", "minilm"] == 1


def test_the_error_of_a_prediction_is_that_of_the_last_one() -> None:
    metrics = Metrics()
    assert not [name for name, *_ in samples(metrics) if name == "edged_prediction_error_ratio"]
    metrics.foreseen("minilm", "ready", predicted_s=2.0, measured_s=3.0)
    metrics.foreseen("minilm", "ready", predicted_s=2.0, measured_s=1.0)
    metrics.foreseen("minilm", "first_answer", predicted_s=2.0, measured_s=2.0)
    seen = samples(metrics)
    assert seen["edged_prediction_error_ratio", "ready", "minilm"] == -0.5
    assert seen["edged_prediction_error_ratio", "first_answer", "minilm"] == 0


def test_working_requests_go_up_and_down() -> None:
    metrics = Metrics()
    metrics.request_began()
    metrics.request_began()
    metrics.request_ended()
    assert samples(metrics)["edged_requests_working",] == 1


def test_the_state_of_models_is_read_when_metrics_are() -> None:
    statuses = [
        ModelStatus(
            model="minilm",
            state="loading",
            kind="embed",
            strategy="warm",
            load_at_start=True,
            busy_slots=1,
            drafted_tokens=7,
            accepted_tokens=5,
        )
    ]
    metrics = Metrics()
    metrics.watch(lambda: statuses)
    seen = samples(metrics)
    assert seen["edged_model_state", "minilm", "loading"] == 1
    assert seen["edged_model_state", "minilm", "ready"] == 0
    assert seen["edged_busy_slots", "minilm"] == 1
    assert seen["edged_drafted_tokens", "minilm"] == 7
    assert seen["edged_accepted_tokens", "minilm"] == 5
    assert ("edged_ready_seconds", "minilm") not in seen  # not known yet
    statuses[0] = ModelStatus(
        model="minilm",
        state="ready",
        kind="embed",
        strategy="warm",
        load_at_start=True,
        measured_ready_s=2.0,
        predicted_ready_s=2.5,
        measured_first_answer_s=2.25,
        predicted_first_answer_s=3.0,
    )
    seen = samples(metrics)
    assert seen["edged_model_state", "minilm", "ready"] == 1
    assert seen["edged_ready_seconds", "minilm"] == 2.0
    assert seen["edged_predicted_ready_seconds", "minilm"] == 2.5
    assert seen["edged_first_answer_seconds", "minilm"] == 2.25
    assert seen["edged_predicted_first_answer_seconds", "minilm"] == 3.0


def test_the_memory_of_models_is_read_when_metrics_are() -> None:
    metrics, account = Metrics(), {"anonymous": 5, "in_flight": 7}
    metrics.watch_memory(lambda: account)
    account["anonymous"] = 6
    seen = samples(metrics)
    assert seen["edged_model_memory_bytes", "anonymous"] == 6
    assert seen["edged_model_memory_bytes", "in_flight"] == 7


def test_two_objects_share_nothing_and_the_global_registry_stays_out() -> None:
    first, second = Metrics(), Metrics()
    first.restarted("a")
    assert ("edged_restarts_total", "a") not in samples(second)
    assert not [metric for metric in REGISTRY.collect() if metric.name.startswith("edged")]


def test_importing_the_module_does_not_import_the_client() -> None:
    code = "import edged.telemetry.metrics, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
