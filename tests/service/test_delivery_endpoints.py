"""The delivery service with configured endpoints: their keys, and tests of them."""

import asyncio
import os

import msgspec
import pytest
import svix.webhooks

from libs.common.bus import NobodyListens, open_bus
from libs.common.endpoints import Bearer, Tls
from libs.common.ids import new_id
from libs.common.keys import public_key_of, spelled_public_key
from libs.common.messages import AttemptWanted, Receiver, SealedKey, Verdict
from libs.common.verification import Verifier
from tests.support.certificates import Authority
from tests.support.delivery import (
    SEALER,
    SECRET,
    WHSEC,
    job,
    receiver,
    run_delivery,
    run_dispatcher,
    sealed,
)
from tests.support.endpoint import HANG, Answer
from tests.support.receivers import run_receiver, saying
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def dispatcher(nats_url):
    async with run_dispatcher(nats_url) as dispatcher:
        yield dispatcher


@pytest.fixture
async def bus(nats_url):
    async with open_bus(nats_url, service="test") as bus:
        await bus.until_connected(asyncio.Event())
        yield bus


async def ask(bus, wanted, *, seconds=10.0) -> Verdict:
    """Ask for an attempt as soon as a pod is there."""

    async def answered():
        try:
            return await bus.ask(wanted.subject, wanted.encode(), seconds=seconds)
        except NobodyListens:
            return None

    return msgspec.json.decode(await until(answered), type=Verdict)


# --- in a batch ----------------------------------------------------------------------


async def test_each_job_of_a_batch_is_sent_as_its_endpoint_wants_it(
    nats_url, dispatcher, endpoint
):
    one, other = str(new_id()), str(new_id())
    seed = os.urandom(32)
    receivers = {
        one: receiver(one, auth=Bearer(token="t"), headers={"X-A": "1"}),
        other: Receiver(
            keys=[SealedKey(scheme="v1a", sealed=SEALER.seal(seed, owner=other))]
        ),
    }
    jobs = [
        job(endpoint.url, endpoint_id=one, webhook_id="msg_1"),
        job(endpoint.url, endpoint_id=other, webhook_id="msg_1"),
        job(endpoint.url),
    ]
    endpoint.otherwise = Answer(503, b"", {"Retry-After": "7"})

    async with run_delivery(nats_url):
        await dispatcher.hand_out(*jobs, receivers=receivers)
        verdicts = [await dispatcher.verdict_of(one) for one in jobs]

    assert [v.endpoint_id for v in verdicts] == [one, other, None]
    assert [(v.status, v.retry_after) for v in verdicts] == [(503, "7")] * 3
    by_scheme = {
        request.headers["webhook-signature"].partition(",")[0]: request
        for request in endpoint.requests
        if request.id == "msg_1"
    }
    assert len(endpoint.requests) == 3
    by_scheme["v1"].verify(WHSEC)
    assert by_scheme["v1"].headers["Authorization"] == "Bearer t"
    assert by_scheme["v1"].headers["X-A"] == "1"
    asymmetric = by_scheme["v1a"]
    Verifier([spelled_public_key(public_key_of(seed))]).verify(
        asymmetric.body, asymmetric.headers
    )
    assert "Authorization" not in asymmetric.headers


async def test_a_job_whose_endpoint_cannot_be_opened_is_handed_back(
    nats_url, dispatcher, endpoint
):
    ids = [str(new_id()) for _ in range(4)]
    receivers = {
        ids[0]: receiver(ids[1]),
        ids[1]: Receiver(keys=[]),
        ids[3]: receiver(ids[3]),
    }
    jobs = [job(endpoint.url, endpoint_id=id_) for id_ in ids]

    async with run_delivery(nats_url):
        await dispatcher.hand_out(*jobs, receivers=receivers)
        verdicts = [await dispatcher.verdict_of(one) for one in jobs]

    assert [verdict.sent for verdict in verdicts] == [False, False, False, True]
    assert [verdict.endpoint_id for verdict in verdicts] == ids
    # Its organization could have signed, and did not.
    assert endpoint.ids == [jobs[3].job_id]


async def test_a_batch_is_delivered_over_mutual_tls_to_a_private_authority(
    nats_url, dispatcher
):
    ours, theirs = Authority("ours"), Authority("theirs")
    client, id_ = ours.issue("client"), str(new_id())
    tls = Tls(
        client_certificate=client.certificate, client_key=client.key, ca=theirs.pem
    )
    async with (
        run_receiver(saying(OK), tls=theirs.server(clients_of=ours)) as server,
        run_delivery(nats_url) as pod,
    ):
        url = f"https://localhost:{server.port}/"
        jobs = [job(url, b"", method="GET", endpoint_id=id_) for _ in range(20)]
        plain = job(url, b"")
        await dispatcher.hand_out(*jobs, plain, receivers={id_: receiver(id_, tls=tls)})
        statuses = {(await dispatcher.verdict_of(one)).status for one in jobs}
        refused = await dispatcher.verdict_of(plain)
        metrics = await pod.metrics()

    assert statuses == {200}
    assert len(server.heads) == 20
    assert refused.error == "TLS: unable to get local issuer certificate"
    assert 'bellhop_outbound_connections_total{reused="false"}' in metrics


# --- a test --------------------------------------------------------------------------


async def test_a_test_is_made_and_answered_at_once(nats_url, bus, endpoint):
    id_ = str(new_id())
    target = job(endpoint.url, b'{"test": true}', endpoint_id=id_)
    endpoint.otherwise = Answer(202, b"thanks")

    async with run_delivery(nats_url):
        verdict = await ask(bus, AttemptWanted(job=target, receiver=receiver(id_)))
        plain = job(endpoint.url, b"null")
        await ask(bus, AttemptWanted(job=plain, secrets=sealed()))

    first, second = endpoint.requests
    svix.webhooks.Webhook(WHSEC).verify(first.body, dict(first.headers))
    second.verify(WHSEC)
    assert (first.body, second.body) == (b'{"test": true}', b"null")
    assert (verdict.job_id, verdict.endpoint_id) == (target.job_id, id_)
    assert (verdict.sent, verdict.status, verdict.body) == (True, 202, b"thanks")


async def test_a_test_that_fails_says_why(nats_url, bus, endpoint):
    id_ = str(new_id())
    endpoint.answers = [HANG]
    slow = job(endpoint.url, endpoint_id=id_, timeout_seconds=0.2)
    special = job("http://169.254.169.254/", endpoint_id=id_)
    unsealable = AttemptWanted(
        job=slow, secrets=sealed(SECRET, owner="somebody else"), receiver=None
    )

    async with run_delivery(nats_url):
        verdict = await ask(bus, AttemptWanted(job=slow, receiver=receiver(id_)))
        assert verdict.error == "timeout after 0.2 s"
        verdict = await ask(bus, AttemptWanted(job=special, receiver=receiver(id_)))
        assert verdict.error == "address not allowed"
        assert not (await ask(bus, unsealable)).sent


async def test_one_pod_makes_a_test_and_no_other(nats_url, bus, endpoint):
    wanted = [AttemptWanted(job=job(endpoint.url), secrets=sealed()) for _ in range(10)]

    async with run_delivery(nats_url), run_delivery(nats_url):
        for each in wanted:
            assert (await ask(bus, each)).status == 200

    assert endpoint.ids == [each.job.job_id for each in wanted]


async def test_tests_and_deliveries_do_not_wait_for_each_other(
    nats_url, bus, dispatcher, endpoint
):
    endpoint.answers = [HANG]
    first, second = job(endpoint.url), job(endpoint.url)

    async with run_delivery(nats_url, delivery_slots=1):
        await dispatcher.hand_out(first)
        await endpoint.received(1)
        # The only slot is taken, and yet:
        wanted = AttemptWanted(job=job(endpoint.url), secrets=sealed())
        assert (await ask(bus, wanted)).status == 200

        # No place for tests is free, and yet:
        endpoint.answers = [HANG] * 16
        hanging = [
            asyncio.create_task(
                ask(bus, AttemptWanted(job=job(endpoint.url), secrets=sealed()))
            )
            for _ in range(16)
        ]
        await endpoint.received(18)
        one_more = await ask(
            bus, AttemptWanted(job=job(endpoint.url), secrets=sealed())
        )
        assert (one_more.sent, len(endpoint.requests)) == (False, 18)
        endpoint.close()
        await dispatcher.verdict_of(first)
        await dispatcher.hand_out(second)
        assert (await dispatcher.verdict_of(second)).status == 200
        assert {verdict.sent for verdict in await asyncio.gather(*hanging)} == {True}


async def test_a_test_that_is_under_way_is_answered_before_the_pod_goes(
    nats_url, bus, endpoint
):
    endpoint.otherwise = Answer(200, delay_seconds=0.5)
    wanted = AttemptWanted(job=job(endpoint.url), secrets=sealed())

    async with run_delivery(nats_url) as pod:
        asking = asyncio.create_task(ask(bus, wanted))
        await endpoint.received(1)
        pod.stop()
        assert (await asking).status == 200
        await pod.stopped()
        with pytest.raises(NobodyListens):
            await bus.ask(wanted.subject, wanted.encode(), seconds=1)


async def test_a_question_that_cannot_be_read_hurts_nobody(nats_url, bus, endpoint):
    wanted = AttemptWanted(job=job(endpoint.url), secrets=sealed())

    async with run_delivery(nats_url):
        await ask(bus, wanted)
        await bus.client.publish(AttemptWanted.subject, b"nonsense")
        assert (await ask(bus, wanted)).status == 200
