"""The page of metrics says what the code has, and names are as they should be."""

import re
from pathlib import Path

import pytest

from tests.support.metrics import all_metrics

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
METRICS = all_metrics()
#: What names nobody can count: whose, which, where to.
UNBOUNDED = {
    "organization",
    "queue",
    "endpoint",
    "job",
    "url",
    "host",
    "worker",
    "path",
}


def test_the_page_has_every_metric_once():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    written = {
        section.partition("\n")[0]: re.findall(r"^\| `.*$", section, re.MULTILINE)
        for section in sections[1:]
    }
    wanted: dict[str, list[str]] = {}
    for one in METRICS:
        wanted.setdefault(one.service, []).append(one.row)

    assert {name: rows for name, rows in written.items() if rows} == wanted


@pytest.mark.parametrize("one", METRICS, ids=lambda one: one.name)
def test_a_metric_is_named_as_prometheus_has_it(one):
    assert re.fullmatch(r"(bellhop|spooled)(_[a-z0-9]+)+", one.name)
    assert one.meaning.endswith(".")
    assert one.kind in {"counter", "gauge", "histogram"}
    assert not {*one.labels} & UNBOUNDED
    if one.kind == "histogram":
        assert one.name.endswith(("_seconds", "_bytes", "_items"))
    if one.kind == "gauge":
        assert not one.name.endswith("_total")


def test_what_an_operator_expects_is_there():
    """The least that senders of webhooks show."""
    assert {
        one.name.removeprefix("bellhop_"): {*one.labels} for one in METRICS
    }.items() >= {
        "events_accepted_total": {"source", "result"},
        "ingest_duration_seconds": set(),
        "deliveries_total": {"outcome"},
        "delivery_attempt_duration_seconds": set(),
        "delivery_lag_seconds": set(),
        "end_to_end_latency_seconds": set(),
        "deliveries_due": set(),
        "deliveries_scheduled": set(),
        "oldest_due_age_seconds": set(),
        "dead_letters": set(),
        "endpoints": {"state"},
        "outbound_connections_total": {"reused"},
        "ssrf_blocked_total": {"reason"},
        "outbox_unpublished": set(),
        "scheduler_leader": {"duty"},
        "build_info": {"version"},
    }.items()
