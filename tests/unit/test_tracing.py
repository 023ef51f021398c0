"""Tracing holds up nobody, whatever becomes of the collector."""

import os
import subprocess
import sys
from pathlib import Path

from libs.cli.embedded.ports import free_port
from libs.common import tracing

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


#: In a process of its own: what sends goes on for a while, and draws its pauses by lot.
AWAY = f"""
import time
from libs.common import tracing

with tracing.open_tracing("test", on=True):
    with tracing.serving("request", {{"traceparent": "{TRACEPARENT}"}}):
        here = tracing.here()
    ended_at = time.monotonic()

assert here is not None
assert here.split("-")[1] == "{TRACEPARENT}".split("-")[1]
assert time.monotonic() - ended_at < 4
assert not tracing.is_on()
"""


def test_a_collector_that_is_away_is_not_waited_for():
    endpoint = f"http://127.0.0.1:{free_port()}"
    subprocess.run(
        [sys.executable, "-c", AWAY],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        check=True,
    )


def test_off_there_is_nothing():
    with tracing.serving("request", {"traceparent": TRACEPARENT}):
        assert tracing.here() is None
    assert tracing.telling(tracing.here()) is None


def test_what_is_told_with_a_creation_is_found_there():
    assert tracing.told_of(tracing.telling(TRACEPARENT)) == TRACEPARENT
    assert tracing.told_of('{"run_at": "2026-01-01T00:00:00Z"}') is None
    assert tracing.told_of(None) is None
