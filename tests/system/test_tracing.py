"""One job is followed through all five services; off, nothing of it is there."""

import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from libs.cli.embedded.ports import free_port
from tests.support.collector import run_collector
from tests.support.house import assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
CALLER = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
SAMPLED = f"00-{CALLER[0]}-{CALLER[1]}-01"
UNSAMPLED = f"00-{CALLER[0]}-{CALLER[1]}-00"
FAST = {"strategy": "schedule", "schedule_seconds": [0.1], "jitter": 0}
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


@pytest.fixture
async def collector():
    async with run_collector() as collector:
        yield collector


@pytest.fixture
def send_traceparent():
    """Whether every receiver is told the trace."""
    return True


@pytest.fixture
async def five(
    database_url, nats_url, tmp_path, collector, monkeypatch, send_traceparent
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with run_processes(
        database_url,
        nats_url,
        logs=tmp_path,
        services=("ingest", "dispatcher", "delivery", "scheduler"),
        send_traceparent=send_traceparent,
    ) as house:
        yield house
    await assert_invariants(database_url)


@asynccontextmanager
async def watched(house, tenant):
    """Let a streamer run, and somebody watch: nothing is followed for nobody."""
    port = free_port()
    await house.start("streamer", http_port=port)
    url = f"http://127.0.0.1:{port}/api/v1/events"
    async with (
        aiohttp.ClientSession(headers=tenant.headers) as http,
        http.get(url) as stream,
    ):
        assert stream.status == 200
        yield


async def test_one_job_is_followed_through_all_five_services(
    five, tenant, endpoint, collector
):
    answers = iter([500, 204])
    endpoint.otherwise = lambda _: next(answers)
    async with watched(five, tenant), open_api(five, tenant) as api:
        body = {
            "queue_name": "mail",
            "payload": {"n": 1},
            "target": {"url": f"{endpoint.url}?token=hidden"},
            "retry": FAST,
        }
        made = await api.ask(
            "POST", "/jobs", json=body, headers={"traceparent": SAMPLED}, expect=201
        )
        await api.until_status(made["id"], "completed")

        def all_were_sent():
            assert len(collector.of("delivery")) == 2
            assert collector.of("streamer")
            assert collector.of("scheduler")
            return len(collector.of("dispatcher")) == 2

        await until(all_were_sent, at_most=20)

    [created] = collector.of("ingest", "POST /api/v1/jobs")
    assert (created.trace, created.parent) == CALLER
    assert created.kind == SERVER
    for service, name, kind in (
        ("scheduler", "send bellhop.events", PRODUCER),
        ("streamer", "process bellhop.events", CONSUMER),
    ):
        [span] = collector.of(service)
        assert (span.name, span.kind, span.parent) == (name, kind, "")
        assert span.links == {created.id}
    batches = {span.id: span for span in collector.of("dispatcher")}
    attempts = collector.of("delivery")
    for attempt in attempts:
        # Linked to what created the job; of the trace of the batch that brought it.
        assert (attempt.name, attempt.kind) == ("POST", CLIENT)
        assert attempt.links == {created.id}
        assert batches[attempt.trace, attempt.parent].links == {created.id}
        assert attempt.attributes["bellhop.job.id"] == made["id"]
    # A retry extends no trace.
    assert len({span.trace for span in (created, *attempts)}) == 3
    told = {span.attributes["http.response.status_code"]: span for span in attempts}
    assert told.keys() == {500, 204}
    assert told[500].attributes["error.type"] == "500"
    assert told[204].attributes["http.request.resend_count"] == 1
    # The receiver can go on from the attempt.
    sent = [request.headers["traceparent"].split("-") for request in endpoint.requests]
    assert [(trace, span) for _, trace, span, _ in sent] == [
        told[status].id for status in (500, 204)
    ]
    assert all(int(flags, 16) & 1 for *_, flags in sent)
    assert "hidden" not in repr(collector.spans)


async def test_what_was_not_sampled_leaves_no_trace(five, tenant, endpoint, collector):
    async with open_api(five, tenant) as api:
        body = {"queue_name": "mail", "payload": 1, "target": {"url": endpoint.url}}
        made = await api.ask(
            "POST", "/jobs", json=body, headers={"traceparent": UNSAMPLED}, expect=201
        )
        job = await api.until_status(made["id"], "completed")
        [created, *_] = await api.ask("GET", f"/jobs/{job['id']}/history", expect=200)

    assert "traceparent" not in repr(created)
    assert collector.of("dispatcher") + collector.of("delivery") == []
    assert "traceparent" not in endpoint.requests[0].headers


async def test_the_deliveries_of_a_message_are_traced_to_it(
    five, tenant, endpoint, collector
):
    async with open_api(five, tenant) as api:
        await api.ask("POST", "/endpoints", json={"url": endpoint.url}, expect=201)
        message = {"event_type": "invoice.paid", "payload": {}}
        await api.ask("POST", "/messages", json=message, expect=201)
        await until(lambda: collector.of("delivery"), at_most=20)

    [sent] = collector.of("ingest", "POST /api/v1/messages")
    [attempt] = collector.of("delivery")
    assert attempt.links == {sent.id}


@pytest.mark.parametrize("send_traceparent", [False])
async def test_an_endpoint_that_asks_for_it_is_told_the_trace(
    five, tenant, endpoint, collector
):
    async with open_api(five, tenant) as api:
        for path, asks in (("/asks", True), ("/asks-not", False)):
            body = {"url": endpoint.url_of(path), "send_traceparent": asks}
            await api.ask("POST", "/endpoints", json=body, expect=201)
        message = {"event_type": "invoice.paid", "payload": {}}
        await api.ask("POST", "/messages", json=message, expect=201)
        await endpoint.received(2)
        await until(lambda: len(collector.of("delivery")) == 2, at_most=20)

    told = {
        request.path: request.headers.get("traceparent")
        for request in endpoint.requests
    }
    assert told["/asks-not"] is None
    assert told["/asks"].split("-")[1:3] in [
        list(span.id) for span in collector.of("delivery")
    ]


def test_off_nothing_of_it_is_even_imported():
    names = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
    lines = [f"import services.{name}.service" for name in names]
    program = "\n".join(
        ["import sys", *lines, "print([m for m in sys.modules if 'opentel' in m])"]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout.strip() == "[]"
