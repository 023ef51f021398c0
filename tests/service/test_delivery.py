"""The delivery service keeps its card: batches in, signed requests, verdicts out."""

import asyncio
import os
from urllib.parse import urlsplit

import pytest

from libs.common.bus import Undecided
from libs.common.ids import new_id
from tests.support.delivery import (
    ORGANIZATION,
    SECRET,
    WHSEC,
    job,
    run_delivery,
    run_dispatcher,
    sealed,
)
from tests.support.endpoint import HANG
from tests.support.waiting import until
from tests.support.wire import wire_to


@pytest.fixture
async def dispatcher(nats_url):
    async with run_dispatcher(nats_url) as dispatcher:
        yield dispatcher


async def test_every_attempt_of_a_batch_is_made_and_told(
    nats_url, dispatcher, endpoint
):
    endpoint.otherwise = lambda request: 500 if b"bad" in request.body else 200
    jobs = [job(endpoint.url, b'"bad"' if i % 2 else b'"good"') for i in range(64)]

    async with run_delivery(nats_url):
        lease_id = await dispatcher.hand_out(*jobs)
        verdicts = [await dispatcher.verdict_of(one) for one in jobs]

    assert [v.status for v in verdicts] == [200, 500] * 32
    assert {v.lease_id for v in verdicts} == {lease_id}
    assert all(v.sent and v.ended_ms_ago >= 0 for v in verdicts)
    assert sorted(endpoint.ids) == sorted(one.job_id for one in jobs)
    for request in endpoint.requests:
        request.verify(WHSEC)
    # What ends together is told together.
    assert len(dispatcher.reports) < 64


async def test_the_bytes_of_the_producer_arrive_as_they_were(
    nats_url, dispatcher, endpoint
):
    bodies = [
        b'{"b" :1.0,\n\t"a": "\\u00fc"}',
        '"\N{SNOWMAN}"'.encode(),
        b"1e400",
        b"null",
        b"",
    ]
    jobs = [job(endpoint.url, body) for body in bodies]
    # JSON's null cannot be told from a body that is not there, so it is asked for.
    dispatcher.bodies = {one.job_id: b"null" for one in jobs}

    async with run_delivery(nats_url):
        await dispatcher.hand_out(*jobs)
        for one in jobs:
            assert (await dispatcher.verdict_of(one)).status == 200

    arrived = {request.id: request.body for request in endpoint.requests}
    assert [arrived[one.job_id] for one in jobs] == bodies


async def test_a_body_that_does_not_travel_with_its_batch_is_asked_for(
    nats_url, dispatcher, endpoint
):
    body = os.urandom(1024 * 1024)
    one = job(endpoint.url, body, apart=True)
    dispatcher.bodies[one.job_id] = body

    async with run_delivery(nats_url):
        lease_id = await dispatcher.hand_out(one)
        verdict = await dispatcher.verdict_of(one)

    assert verdict.status == 200
    assert endpoint.requests[0].body == body
    assert [(w.offset, w.length) for w in dispatcher.wanted] == [
        (0, 512 * 1024),
        (512 * 1024, 512 * 1024),
    ]
    assert {w.lease_id for w in dispatcher.wanted} == {lease_id}


async def test_few_bodies_are_asked_for_at_once_so_that_the_first_are_whole_in_time(
    nats_url, dispatcher, endpoint
):
    body = os.urandom(600_000)
    jobs = [job(endpoint.url, body, apart=True) for _ in range(20)]
    dispatcher.bodies = {one.job_id: body for one in jobs}

    async with run_delivery(nats_url):
        await dispatcher.hand_out(*jobs, lease_seconds=60.0)
        for one in jobs:
            assert (await dispatcher.verdict_of(one)).status == 200

    begun, most = set(), 0
    for piece in dispatcher.wanted:
        begun.add(piece.job_id)
        most = max(most, len(begun))
        if piece.offset:
            begun.remove(piece.job_id)
    assert most == 4


async def test_large_bodies_wait_for_room_and_small_ones_pass_by(
    nats_url, dispatcher, endpoint
):
    body, answers = os.urandom(100_000), asyncio.Event()

    async def hang(request):
        if len(request.body) == len(body):
            await answers.wait()
        return 200

    endpoint.otherwise = hang
    large = [job(endpoint.url, body, apart=True) for _ in range(6)]
    small = [job(endpoint.url) for _ in range(6)]
    dispatcher.bodies = {one.job_id: body for one in large}

    async with run_delivery(nats_url, delivery_bodies_bytes_max=250_000):
        await dispatcher.hand_out(*large, *small, lease_seconds=60.0)
        for one in small:
            assert (await dispatcher.verdict_of(one)).status == 200
        await until(lambda: endpoint.under_way == 2)
        # Who waits has not even asked for a body.
        assert {w.job_id for w in dispatcher.wanted} == {
            one.job_id for one in large[:2]
        }
        answers.set()
        for one in large:
            assert (await dispatcher.verdict_of(one)).status == 200

    asked = dict.fromkeys(w.job_id for w in dispatcher.wanted)
    assert list(asked) == [one.job_id for one in large]


async def test_a_large_body_that_finds_no_room_in_time_is_handed_back(
    nats_url, dispatcher, endpoint
):
    body, answers = os.urandom(100_000), asyncio.Event()

    async def hang(_):
        await answers.wait()
        return 200

    endpoint.otherwise = hang
    first, second, third = (job(endpoint.url, body, apart=True) for _ in range(3))
    dispatcher.bodies = {one.job_id: body for one in (first, second, third)}

    # Less than one body: it goes all the same, alone.
    async with run_delivery(nats_url, delivery_bodies_bytes_max=50_000):
        await dispatcher.hand_out(first)
        await until(lambda: endpoint.under_way == 1)
        await dispatcher.hand_out(second, lease_seconds=2.0)
        assert not (await dispatcher.verdict_of(second)).sent
        answers.set()
        assert (await dispatcher.verdict_of(first)).status == 200
        # What waited in vain has left nothing taken.
        await dispatcher.hand_out(third)
        assert (await dispatcher.verdict_of(third)).status == 200

    assert endpoint.ids == [first.job_id, third.job_id]


async def test_a_job_whose_lease_may_be_gone_is_handed_back_unsent(
    nats_url, dispatcher, endpoint
):
    gone = job(endpoint.url, apart=True)
    late, held_up, alive = (job(endpoint.url) for _ in range(3))
    all_of_them = gone, late, held_up, alive

    async with run_delivery(nats_url):
        await dispatcher.hand_out(gone)
        await dispatcher.hand_out(late, lease_seconds=0.0)
        # It was on its way for as long as its lease lives.
        await dispatcher.hand_out(held_up, seconds_ago=7.0)
        await dispatcher.hand_out(alive, seconds_ago=3.0)
        sent = [await dispatcher.verdict_of(one) for one in all_of_them]
        await dispatcher.holds()

    assert endpoint.ids == [alive.job_id]
    assert [verdict.sent for verdict in sent] == [False, False, False, True]


async def test_a_batch_that_was_held_up_behind_a_cut_is_handed_back_unsent(
    nats_url, endpoint
):
    prompt, held_up = job(endpoint.url), job(endpoint.url)
    place = urlsplit(nats_url)

    async with (
        wire_to(place.hostname, place.port) as wire,
        run_delivery(nats_url),
        run_dispatcher(wire.through(nats_url)) as dispatcher,
    ):
        await dispatcher.hand_out(prompt, lease_seconds=4.0)
        wire.freeze()
        with pytest.raises(Undecided):
            await dispatcher.hand_out(held_up, lease_seconds=4.0)
        await asyncio.sleep(1.5)
        wire.mend()
        assert not (await dispatcher.verdict_of(held_up)).sent
        assert (await dispatcher.verdict_of(prompt)).status == 200

    assert endpoint.ids == [prompt.job_id]


async def test_no_more_attempts_at_once_than_there_are_slots(
    nats_url, dispatcher, endpoint
):
    most = 0

    async def think(_):
        nonlocal most
        most = max(most, endpoint.under_way)
        await asyncio.sleep(0.02)
        return 200

    endpoint.otherwise = think
    jobs = [job(endpoint.url) for _ in range(20)]

    async with run_delivery(nats_url, delivery_slots=3):
        await dispatcher.hand_out(*jobs[:10])
        await dispatcher.hand_out(*jobs[10:])
        for one in jobs:
            await dispatcher.verdict_of(one)

    assert most == 3
    assert {word.slots for word in dispatcher.held} == {3}


async def test_a_full_pod_leaves_the_next_batch_to_others(
    nats_url, dispatcher, endpoint
):
    endpoint.answers = [HANG]
    first, second = job(endpoint.url), job(endpoint.url)

    async with run_delivery(nats_url, delivery_slots=1):
        lease_id = await dispatcher.hand_out(first)
        await dispatcher.holds(lease_id)
        await endpoint.received(1)
        async with run_delivery(nats_url):
            await dispatcher.hand_out(second)
            assert (await dispatcher.verdict_of(second)).status == 200
        assert len(endpoint.requests) == 2
        endpoint.close()


async def test_a_lease_is_named_at_once_and_until_its_verdicts_are_committed(
    nats_url, dispatcher, endpoint, monkeypatch
):
    monkeypatch.setattr("services.delivery.reports._ANSWER_SECONDS", 0.2)
    endpoint.answers = [HANG, HANG]
    committed = asyncio.Event()
    dispatcher.commits = lambda _: committed.is_set()
    one, other = job(endpoint.url), job(endpoint.url)

    async with run_delivery(nats_url) as pod:
        # Heard before the first attempt has an answer, and long before the second.
        first = await dispatcher.hand_out(one)
        await dispatcher.holds(first)
        second = await dispatcher.hand_out(other)
        await dispatcher.holds(first, second)
        endpoint.close()
        await dispatcher.verdict_of(one)
        await dispatcher.verdict_of(other)
        heard = len(dispatcher.held)
        await until(lambda: len(dispatcher.held) > heard)
        await dispatcher.holds(first, second)
        committed.set()
        await dispatcher.holds()
        assert dispatcher.held[-1].slots == 1024
        pod.stop()
        await pod.stopped()

    # Who goes gives no credit.
    await until(lambda: dispatcher.held[-1].slots == 0)


async def test_a_secret_that_does_not_open_is_nobodys_attempt(
    nats_url, dispatcher, endpoint
):
    strange, own = job(endpoint.url, organization_id="org-2"), job(endpoint.url)
    absent = job(endpoint.url, organization_id="org-3")
    secrets = {ORGANIZATION: sealed(), "org-2": sealed(SECRET, owner=ORGANIZATION)}

    async with run_delivery(nats_url):
        await dispatcher.hand_out(strange, absent, own, secrets=secrets)
        verdicts = [await dispatcher.verdict_of(j) for j in (strange, absent, own)]

    assert [v.sent for v in verdicts] == [False, False, True]
    assert endpoint.ids == [own.job_id]


async def test_both_secrets_sign_while_one_takes_over_from_the_other(
    nats_url, dispatcher, endpoint
):
    secrets = {ORGANIZATION: [*sealed(os.urandom(32)), *sealed()]}
    one = job(endpoint.url)

    async with run_delivery(nats_url):
        await dispatcher.hand_out(one, secrets=secrets)
        await dispatcher.verdict_of(one)

    (request,) = endpoint.requests
    request.verify(WHSEC)
    assert request.headers["webhook-signature"].count("v1,") == 2


async def test_a_word_that_cannot_be_read_is_skipped(nats_url, dispatcher, endpoint):
    one = job(endpoint.url)

    async with run_delivery(nats_url):
        await dispatcher.send(b"nonsense")
        await dispatcher.hand_out(one)
        assert (await dispatcher.verdict_of(one)).status == 200


async def test_it_is_ready_only_while_the_bus_is_there(nats_url, dispatcher, endpoint):
    async with run_delivery(nats_url) as pod:
        await until(pod.is_ready)
        one = job(endpoint.url)
        await dispatcher.hand_out(one)
        await dispatcher.verdict_of(one)
        assert 'deliveries_total{outcome="delivered"}' in await pod.metrics()

    async with run_delivery("nats://127.0.0.1:1") as pod:
        await until(pod.is_alive)
        assert not await pod.is_ready()


def test_ids_are_what_the_specification_allows():
    # SW-03: without a dot, or "id.timestamp.body" could be read in two ways.
    assert "." not in str(new_id())
