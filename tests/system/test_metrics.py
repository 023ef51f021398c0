"""What an operator is promised to see stands at ``/metrics``, and is true."""

import asyncio
import re
from http import HTTPStatus

import aiohttp
import pytest

from libs.common.lifecycle import Place, Transition
from libs.common.version import VERSION
from tests.support.figures import figures_at
from tests.support.house import assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until
from tests.support.work import claim, say

SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
FAST = {"strategy": "schedule", "schedule_seconds": [0.1], "jitter": 0}

#: Every label there may be, and all it may say: our own words, and not many.
BOUNDED = {
    "actor": r"[A-Za-z_]+(\.[A-Za-z_]+)*",
    "batch": r"[a-z_]+",
    "code": r"[A-Z_]+",
    "duty": "announce|tell",
    "fate": "ready|dead",
    "generation": "[012]",
    "how": "completed|retrying|deadlettered|released|cancelled|expired",
    "implementation": "CPython",
    "le": r"\+Inf|[0-9.e+-]+",
    "major": "[0-9]+",
    "method": "[A-Z]+|[A-Z][A-Za-z]+",
    "minor": "[0-9]+",
    "of": "jobs|messages",
    "outcome": "delivered|refused|failed|handed_back|[a-z_]+",
    "patchlevel": "[0-9]+",
    "place": "|".join(Place),
    "provider": "github|stripe|shopify|slack|standard|custom",
    "reason": "url|name|address|port|gone|failing",
    "result": "created|known|refused|unavailable",
    "reused": "true|false",
    "source": "rest|grpc|nats|webhook",
    "state": "in_use|idle|enabled|disabled|open|throttled|healthy|degraded|offline",
    "status": "|".join(str(int(status)) for status in HTTPStatus),
    "transition": "|".join(Transition),
    "version": r"[0-9A-Za-z.+-]+",
    "why": "[a-z_]+",
    "word": "[A-Za-z]+",
}


@pytest.fixture
async def five(database_url, nats_url, tmp_path):
    async with run_processes(
        database_url,
        nats_url,
        logs=tmp_path,
        services=("ingest", "dispatcher", "delivery", "scheduler"),
    ) as house:
        await house.start("streamer", http_port=0)
        yield house
    await assert_invariants(database_url)


async def carry(house, tenant, endpoint):
    """Let every kind of thing happen; return nothing before it has."""
    endpoint.otherwise = lambda request: 500 if b"no" in request.body else 204
    async with open_api(house, tenant) as api:
        well = [await api.create(endpoint.url, payload={"n": n}) for n in range(5)]
        badly = await api.create(
            endpoint.url, payload={"say": "no"}, max_retries=1, retry=FAST
        )
        keyed = {"queue_name": "mail", "payload": 1, "idempotency_key": "once"}
        for status in (201, 200):
            await api.ask("POST", "/jobs", json=keyed, expect=status)
        [job] = await claim(api, queue="mail")
        await say(api, "complete", job)
        for job_id in well:
            await api.until_status(job_id, "completed")
        await api.until_status(badly, "deadletter")


async def test_every_service_shows_what_an_operator_expects(
    five, tenant, endpoint, database_url
):
    await carry(five, tenant, endpoint)

    async def look():
        found = dict(
            zip(
                SERVICES,
                await asyncio.gather(
                    *(figures_at(five.health_urls[name]) for name in SERVICES)
                ),
                strict=True,
            )
        )
        assert found["scheduler"].value("bellhop_dead_letters") == 1
        assert found["ingest"].value("spooled_jobs_deadlettered_total") == 1
        return found

    found = await until(look, at_most=40)
    ingest, delivery, scheduler = (
        found[name] for name in ("ingest", "delivery", "scheduler")
    )

    accepted = "bellhop_events_accepted_total"
    assert ingest.value(accepted, source="rest", result="created") == 7
    assert ingest.value(accepted, source="rest", result="known") == 1
    assert ingest.value("bellhop_ingest_duration_seconds_count") >= 1
    assert delivery.value("bellhop_deliveries_total", outcome="delivered") == 5
    assert delivery.value("bellhop_deliveries_total", outcome="refused") == 2
    assert delivery.value("bellhop_delivery_attempt_duration_seconds_count") == 7
    assert delivery.value("bellhop_outbound_connections_total") == 7
    assert delivery.value("bellhop_ssrf_blocked_total") == 0
    assert scheduler.value("bellhop_delivery_lag_seconds_count") == 7
    assert 0 < scheduler.value("bellhop_delivery_lag_seconds_sum") < 60
    assert scheduler.value("bellhop_work_lag_seconds_count") == 1
    assert scheduler.value("bellhop_end_to_end_latency_seconds_count") == 6
    assert 0 < scheduler.value("bellhop_end_to_end_latency_seconds_sum") < 100
    assert scheduler.value("bellhop_deliveries_due") == 0
    assert scheduler.value("bellhop_deliveries_scheduled") == 0
    assert scheduler.value("bellhop_oldest_due_age_seconds") == 0
    assert scheduler.value("bellhop_endpoints") == 0
    assert scheduler.value("bellhop_outbox_unpublished") == 0
    assert scheduler.value("bellhop_scheduler_leader", duty="announce") == 1
    assert scheduler.value("bellhop_scheduler_leader", duty="tell") == 1
    assert scheduler.value("bellhop_postgres_up") == 1
    assert scheduler.value("bellhop_postgres_size_bytes") > 1_000_000
    transitions = "bellhop_job_transitions_total"
    for name, times in {"created": 7, "completed": 6, "retrying": 1}.items():
        assert scheduler.value(transitions, transition=name) == times
    for name in SERVICES:
        assert found[name].value("bellhop_build_info", version=VERSION) == 1
        assert {"bellhop_bus_connected", "bellhop_clock_timestamp_seconds"} <= found[
            name
        ].names()


async def test_the_contract_finds_its_figures_at_the_api(five, tenant, endpoint):
    await carry(five, tenant, endpoint)

    async def look():
        found = await figures_at(five.base_url)
        assert found.value("spooled_jobs_completed_total") == 6
        return found

    found = await until(look, at_most=40)

    assert found.value("spooled_jobs_enqueued_total") == 7
    assert found.value("spooled_jobs_failed_total") == 2
    assert found.value("spooled_jobs_retried_total") == 1
    assert found.value("spooled_jobs_deadlettered_total") == 1
    assert found.value("spooled_jobs_pending") == 0
    assert found.value("spooled_jobs_processing") == 0
    assert found.value("spooled_job_duration_seconds_bucket", le="+Inf") == 6
    assert found.value("spooled_job_duration_seconds_sum") > 0
    assert found.value("spooled_job_max_age_seconds") == 0
    assert found.value("spooled_api_requests_total") >= 8
    assert found.value("spooled_api_request_duration_seconds_count") >= 8
    assert found.names() >= {
        "spooled_workers_active",
        "spooled_workers_healthy",
        "spooled_database_connections_active",
        "spooled_redis_operations_total",
    }
    assert {
        label
        for name, family in found.families.items()
        if name.startswith("spooled_")
        for sample in family.samples
        for label in sample.labels
    } == {"le"}


async def test_labels_are_bounded_whatever_comes(five, tenant, endpoint):
    await carry(five, tenant, endpoint)
    async with aiohttp.ClientSession() as http:
        for method, path in (("BREW", "/coffee"), ("GET", "/api/v1/jobs/x")):
            async with http.request(method, f"{five.base_url}{path}") as answer:
                assert answer.status >= 400

    for url in five.health_urls.values():
        for label, value in (await figures_at(url)).labels():
            assert re.fullmatch(BOUNDED[label], value), (label, value)
