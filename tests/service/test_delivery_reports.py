"""A verdict is kept until it is committed, whoever dies meanwhile."""

import asyncio
import os

import pytest

from tests.support.delivery import job, run_delivery, run_dispatcher
from tests.support.endpoint import HANG, Answer
from tests.support.waiting import until


@pytest.fixture
async def dispatcher(nats_url):
    async with run_dispatcher(nats_url) as dispatcher:
        yield dispatcher


async def test_any_dispatcher_hears_the_verdicts_of_one_that_died(nats_url, endpoint):
    endpoint.answers = [HANG]
    one = job(endpoint.url)

    async with run_delivery(nats_url), run_dispatcher(nats_url, "other") as other:
        async with run_dispatcher(nats_url, "dying", hears_any=False) as dying:
            await dying.hand_out(one)
            await endpoint.received(1)
        endpoint.close()

        assert (await other.verdict_of(one)).status == 200
        assert dying.verdicts == []


async def test_any_dispatcher_hears_the_verdicts_of_one_that_is_silent(
    nats_url, endpoint, monkeypatch
):
    monkeypatch.setattr("services.delivery.reports._ANSWER_SECONDS", 0.2)
    one = job(endpoint.url)

    async with (
        run_delivery(nats_url),
        run_dispatcher(nats_url, "other") as other,
        run_dispatcher(nats_url, "silent", hears_any=False) as silent,
    ):
        silent.commits = lambda _: False
        await silent.hand_out(one)
        (first, second) = await silent.verdict_of(one), await other.verdict_of(one)

    assert first.job_id == second.job_id
    # Told as it is: the time that passed since, and not a new attempt.
    assert second.ended_ms_ago >= first.ended_ms_ago + 150
    assert second.duration_ms == first.duration_ms
    assert len(endpoint.requests) == 1


async def test_verdicts_wait_until_somebody_is_there(nats_url, endpoint):
    jobs = [job(endpoint.url) for _ in range(3)]

    async with run_delivery(nats_url):
        async with run_dispatcher(nats_url, hears_own=False, hears_any=False) as first:
            lease_id = await first.hand_out(*jobs)
            await endpoint.received(3)
            # Nobody hears the reports, and the leases are named all the while.
            heard = len(first.held)
            await until(lambda: len(first.held) > heard)
            await first.holds(lease_id)
        async with run_dispatcher(nats_url, "another") as second:
            for one in jobs:
                assert (await second.verdict_of(one)).ended_ms_ago > 0
            await until(lambda: second.held and not second.held[-1].leases)

    assert len(endpoint.requests) == 3


async def test_verdicts_outlive_the_bus(nats_server, endpoint):
    endpoint.answers = [HANG]
    one, other = job(endpoint.url), job(endpoint.url)

    async with (
        run_dispatcher(nats_server.url) as dispatcher,
        run_delivery(nats_server.url) as pod,
    ):
        await dispatcher.hand_out(one)
        await endpoint.received(1)
        await nats_server.kill()
        await until(pod.is_not_ready)
        endpoint.close()
        nats_server.wipe()
        await nats_server.start()

        assert (await dispatcher.verdict_of(one, at_most=15)).status == 200
        # The stream is made anew, and the pod takes from it.
        await until(pod.is_ready)
        await dispatcher.hand_out(other)
        assert (await dispatcher.verdict_of(other)).status == 200

    assert len(endpoint.requests) == 2


async def test_a_report_is_no_larger_than_a_message_may_be(
    nats_url, dispatcher, endpoint
):
    body = os.urandom(16 * 1024)
    endpoint.otherwise = Answer(500, body, {"X-Long": "\\" * 256})
    jobs = [job(endpoint.url) for _ in range(64)]

    async with run_delivery(nats_url):
        await dispatcher.hand_out(*jobs)
        for one in jobs:
            assert (await dispatcher.verdict_of(one)).body == body
        await dispatcher.holds()

    sizes = [len(report.encode()) for report in dispatcher.reports]
    assert max(sizes) <= 1024 * 1024
    assert sum(sizes) > 1024 * 1024


async def test_draining_finishes_what_has_begun_and_hands_back_the_rest(
    nats_url, dispatcher, endpoint
):
    endpoint.answers = [Answer(200, delay_seconds=0.5), Answer(204, delay_seconds=0.5)]
    jobs = [job(endpoint.url) for _ in range(5)]

    async with run_delivery(nats_url, delivery_slots=2) as pod:
        await dispatcher.hand_out(*jobs)
        await endpoint.received(2)
        pod.stop()
        # What arrives while the pod goes is handed back as well, or left to others.
        last = job(endpoint.url)
        await dispatcher.hand_out(last)
        verdicts = [await dispatcher.verdict_of(one) for one in jobs]
        await pod.stopped(at_most=5)

    assert sorted(v.status or 0 for v in verdicts) == [0, 0, 0, 200, 204]
    assert [v.sent for v in verdicts].count(False) == 3
    assert len(endpoint.requests) == 2
    assert not [v for v in dispatcher.verdicts if v.job_id == last.job_id and v.sent]


async def test_a_pod_does_not_end_before_its_verdicts_are_committed(nats_url, endpoint):
    one = job(endpoint.url)

    async with run_delivery(nats_url) as pod:
        async with run_dispatcher(nats_url, hears_own=False, hears_any=False) as first:
            await first.hand_out(one)
            await endpoint.received(1)
            pod.stop()
            with pytest.raises(TimeoutError):
                await pod.stopped(at_most=1.5)
        async with run_dispatcher(nats_url) as second:
            assert (await second.verdict_of(one)).status == 200
            await pod.stopped(at_most=3)


async def test_it_stops_while_the_bus_was_never_there():
    async with run_delivery("nats://127.0.0.1:1") as pod:
        await until(pod.is_alive)
        async with asyncio.timeout(3):
            pod.stop()
            await pod.stopped()
