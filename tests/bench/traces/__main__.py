"""Writes the trace again."""

from tests.bench.traces import MORNING, morning, text_of

MORNING.write_text(text_of(morning()))
