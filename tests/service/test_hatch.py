"""Jobs come in over NATS with the same checks, limits and promises as over REST."""

import asyncio
import json
from urllib.parse import urlsplit

import nats
import pytest
from nats.errors import NoRespondersError

from libs.common.ids import new_id
from libs.common.subjects import ingest_subject
from services.ingest import hatch
from tests.support.house import new_tenant, run_house
from tests.support.waiting import until
from tests.support.wire import wire_to

MIB = 1024 * 1024


class Producer:
    """A program of a customer's that speaks nothing but NATS."""

    def __init__(self, client, tenant):
        self.client = client
        self.tenant = tenant
        self.key = {"Bellhop-Key": tenant.api_key}

    def subject(self, queue_name="mail"):
        return ingest_subject(str(self.tenant.id), queue_name)

    async def ask(self, body=None, *, subject=None, headers=None, seconds=10.0):
        """Hand something in; return status and answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.client.request(
            subject or self.subject(),
            data,
            timeout=seconds,
            headers=self.key if headers is None else headers,
        )
        return int(answer.headers["Bellhop-Status"]), json.loads(answer.data)


@pytest.fixture
async def client(nats_url):
    client = await nats.connect(nats_url, max_reconnect_attempts=-1)
    yield client
    await client.close()


@pytest.fixture
async def producer(api, client, tenant):
    made = Producer(client, tenant)
    await listening(made)
    return made


async def listening(producer):
    """Wait until somebody hears it: an ingest is ready before NATS says so."""

    async def heard():
        try:
            return await producer.ask({}, headers={"Authorization": "none"})
        except NoRespondersError:
            return None

    await until(heard, at_most=10)


async def test_a_job_is_committed_and_answered_as_over_rest(producer, api):
    status, made = await producer.ask({"payload": {"n": 1}, "priority": 7})

    job = await api.job(made["id"])
    assert (status, made["created"]) == (201, True)
    assert (job["queue_name"], job["priority"], job["payload"]) == ("mail", 7, {"n": 1})


async def test_the_payload_is_stored_as_it_was_sent(producer, api, conn):
    _, made = await producer.ask(b'{"payload": {"b": 1.0,  "a": "\\u00e9"}}')

    stored = await conn.fetchval(
        "SELECT payload::text FROM jobs WHERE id = $1::text::uuid", made["id"]
    )
    assert stored == '{"b": 1.0,  "a": "\\u00e9"}'


@pytest.mark.parametrize("name", ["mail.eu", "a-b_c", "x"])
async def test_the_subject_names_the_queue(producer, api, name):
    for subject in (
        producer.subject(name),
        f"bellhop.ingest.{producer.tenant.id}.{name}",
    ):
        _, made = await producer.ask({"payload": {}}, subject=subject)
        assert (await api.job(made["id"]))["queue_name"] == name


async def test_a_known_key_finds_its_job(producer):
    body = {"payload": {}, "idempotency_key": "k"}
    first = await producer.ask(body)
    again = await producer.ask(body)
    by_header = await producer.ask(
        {"payload": {}}, headers={**producer.key, "Idempotency-Key": "k"}
    )
    other = await producer.ask(
        {"payload": {"other": 1}}, headers={**producer.key, "Idempotency-Key": "k"}
    )

    assert (first[0], again[0], by_header[0]) == (201, 200, 200)
    assert first[1]["id"] == again[1]["id"] == by_header[1]["id"]
    assert (other[0], other[1]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "INVALID_JSON"),
        (b"{", 400, "INVALID_JSON"),
        (b"\xff\x00", 400, "INVALID_JSON"),
        (b"[" * 100_000, 400, "INVALID_JSON"),
        (b"[]", 400, "VALIDATION_ERROR"),
        (b"null", 400, "VALIDATION_ERROR"),
        ({}, 422, "VALIDATION_ERROR"),
        ({"payload": {}, "priority": 9999}, 400, "VALIDATION_ERROR"),
        ({"payload": {}, "queue_name": "other"}, 400, "VALIDATION_ERROR"),
        ({"payload": {}, "target": {"url": "ftp://x"}}, 400, None),
        ({"payload": "x" * (MIB + 1)}, 400, "VALIDATION_ERROR"),
        ({"payload": "x" * (2 * MIB)}, 413, "PAYLOAD_TOO_LARGE"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_said_and_stops_nobody(
    producer, api, body, status, code
):
    found, answer = await producer.ask(body)

    assert found == status, answer
    assert code is None or answer["code"] == code
    assert answer["message"]
    assert (await producer.ask({"payload": {}}))[0] == 201


async def test_what_is_wrong_is_said_in_the_words_of_rest(producer, api):
    for body in ({}, {"payload": {}, "priority": 9999, "max_retries": "many"}):
        _, over_nats = await producer.ask(body)
        _, over_rest, _ = await api.ask(
            "POST", "/jobs", json={"queue_name": "mail", **body}
        )
        assert over_nats == over_rest


@pytest.mark.parametrize("name", ["a%20b", "a%00b", "%2E", "x" * 101, "*"])
async def test_a_subject_that_names_no_queue_is_refused(producer, api, name):
    # A request may not go to a wildcard; an asterisk alone comes encoded.
    encoded = name.replace("*", "%2A")
    status, answer = await producer.ask(
        {"payload": {}}, subject=f"bellhop.ingest.{producer.tenant.id}.{encoded}"
    )

    assert (status, answer["code"]) == (400, "VALIDATION_ERROR")
    assert [fault["field"] for fault in answer["details"]] == ["queue_name"]


# --- who may --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Bellhop-Key": ""},
        {"Bellhop-Key": "sk_live_nobody"},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer nonsense"},
    ],
    ids=str,
)
async def test_nobody_we_know_hands_nothing_in(producer, conn, headers):
    status, answer = await producer.ask({"payload": {}}, headers=headers)

    assert (status, answer["code"]) == (401, "UNAUTHORIZED")
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0


async def test_the_credential_may_stand_where_http_has_it(producer, tenant):
    for headers in (
        {"Authorization": f"Bearer {tenant.api_key}"},
        {"authorization": f"bearer {tenant.api_key}"},
        {"bellhop-key": tenant.api_key},
    ):
        assert (await producer.ask({"payload": {}}, headers=headers))[0] == 201


async def test_a_key_opens_its_own_organization_only(
    producer, client, database_url, conn
):
    other = Producer(client, await new_tenant(database_url, slug="other"))

    status, answer = await producer.ask({"payload": {}}, subject=other.subject())
    assert (status, answer["code"]) == (403, "ACCESS_DENIED")
    for strange in ("nobody", str(new_id())):
        status, answer = await producer.ask(
            {"payload": {}}, subject=f"bellhop.ingest.{strange}.mail"
        )
        assert (status, answer["code"]) == (403, "ACCESS_DENIED")
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0


async def test_a_key_that_is_limited_to_queues_keeps_to_them(producer, api):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "k", "queues": ["mail"]}, expect=201
    )
    headers = {"Bellhop-Key": made["key"]}

    assert (await producer.ask({"payload": {}}, headers=headers))[0] == 201
    status, answer = await producer.ask(
        {"payload": {}}, headers=headers, subject=producer.subject("other")
    )
    assert (status, answer["code"]) == (403, "ACCESS_DENIED")


async def test_a_revoked_key_opens_nothing_any_more(producer, api):
    made = await api.ask("POST", "/api-keys", json={"name": "k"}, expect=201)
    headers = {"Bellhop-Key": made["key"]}
    assert (await producer.ask({"payload": {}}, headers=headers))[0] == 201

    await api.ask("DELETE", f"/api-keys/{made['id']}", expect=204)

    status, answer = await producer.ask({"payload": {}}, headers=headers)
    assert (status, answer["code"]) == (401, "UNAUTHORIZED")


async def test_the_rate_of_a_key_holds_at_this_door_too(producer, api):
    made = await api.ask(
        "POST", "/api-keys", json={"name": "k", "rate_limit": 3}, expect=201
    )
    headers = {"Bellhop-Key": made["key"]}

    answers = [await producer.ask({"payload": {}}, headers=headers) for _ in range(6)]

    assert {status for status, _ in answers} == {201, 429}
    refused = next(answer for status, answer in answers if status == 429)
    assert refused["code"] == "RATE_LIMIT_EXCEEDED"
    assert refused["retry_after_secs"] >= 1


async def test_the_plan_holds_at_this_door_too(producer, conn, tenant):
    await conn.execute(
        "UPDATE organizations SET plan_tier = 'free' WHERE id = $1", tenant.id
    )

    async def refused():
        # Until it is forgotten what was known of the organization.
        status, answer = await producer.ask({"payload": "x" * (64 * 1024 + 1)})
        return answer if status == 413 else None

    answer = await until(refused, at_most=40)
    assert (answer["code"], answer["plan"]) == ("PAYLOAD_TOO_LARGE", "free")


# --- durable --------------------------------------------------------------------------


async def test_who_waits_for_no_answer_is_served_all_the_same(producer, conn):
    body = json.dumps({"payload": {}}).encode()
    await producer.client.publish(producer.subject(), body, headers=producer.key)
    await producer.client.publish(producer.subject(), b"{", headers=producer.key)

    await until(lambda: conn.fetchval("SELECT count(*) FROM jobs"), at_most=10)
    assert (await producer.ask({"payload": {}}))[0] == 201


async def test_many_at_once_share_commits_and_each_gets_its_own_answer(producer, conn):
    answers = await asyncio.gather(
        *(producer.ask({"payload": {"n": n}, "tags": [str(n)]}) for n in range(500))
    )

    assert {status for status, _ in answers} == {201}
    rows = await conn.fetch("SELECT id, tags ->> 0 AS tag, xmin::text FROM jobs")
    assert {(str(row["id"]), row["tag"]) for row in rows} == {
        (made["id"], str(n)) for n, (_, made) in enumerate(answers)
    }
    assert len({row["xmin"] for row in rows}) < 250


async def test_two_replicas_share_what_comes_in(producer, database_url, nats_url, conn):
    """Each job is taken by one of them, once."""
    async with run_house(database_url, nats_url, services=("ingest",)):
        await asyncio.sleep(0.2)
        answers = await asyncio.gather(
            *(producer.ask({"payload": {"n": n}}) for n in range(100))
        )

    assert len({made["id"] for _, made in answers}) == 100
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 100


async def test_what_was_taken_is_answered_before_we_leave(producer, house, conn):
    asked = [
        asyncio.create_task(producer.ask({"payload": {"n": n}})) for n in range(300)
    ]
    # All of them ask, and then the server is asked whether it has them: by the second
    # one, as the client writes the first before what waits to be written.
    await asyncio.sleep(0)
    await producer.client.flush()
    await producer.client.flush()
    await house.stop("ingest")

    answers = await asyncio.gather(*asked, return_exceptions=True)

    made = {answer[1]["id"] for answer in answers if isinstance(answer, tuple)}
    assert all(isinstance(answer, NoRespondersError | tuple) for answer in answers), (
        answers
    )
    assert await conn.fetchval("SELECT count(*) FROM jobs") == len(made)
    assert len(made) == 300
    await house.start("ingest")


async def test_too_much_at_once_is_refused_and_may_be_asked_again(
    producer, monkeypatch
):
    monkeypatch.setattr(hatch, "_UNDER_WAY_MAX", 3)

    answers = await asyncio.gather(*(producer.ask({"payload": {}}) for _ in range(50)))

    assert {status for status, _ in answers} == {201, 503}
    assert (await producer.ask({"payload": {}}))[0] == 201


async def test_a_cut_of_the_bus_is_survived(
    database_url, nats_url, tenant, client, conn
):
    place = urlsplit(nats_url)
    async with wire_to(place.hostname, place.port) as wire:
        through = place._replace(
            netloc=f"{place.username}:{place.password}@127.0.0.1:{wire.port}"
        ).geturl()
        async with run_house(database_url, through, services=("ingest",)):
            producer = Producer(client, tenant)
            await listening(producer)
            wire.cut()
            await asyncio.sleep(0.1)
            wire.mend()
            await listening(producer)

            assert (await producer.ask({"payload": {}}))[0] == 201
    assert await conn.fetchval("SELECT count(*) FROM jobs") == 1


async def test_without_postgres_it_may_be_repeated(nats_url, database_url, client):
    tenant = await new_tenant(database_url)
    place = urlsplit(database_url)
    async with wire_to(place.hostname, place.port) as wire:
        through = place._replace(
            netloc=place.netloc.replace(f":{place.port}", f":{wire.port}")
        ).geturl()
        async with run_house(through, nats_url, services=("ingest",)):
            producer = Producer(client, tenant)
            await listening(producer)
            assert (await producer.ask({"payload": {}}))[0] == 201
            wire.cut()

            status, answer = await producer.ask({"payload": {}}, seconds=20)

            assert (status, answer["code"]) == (503, "SERVICE_UNAVAILABLE")
            wire.mend()

            async def back():
                return (await producer.ask({"payload": {}}, seconds=20))[0] == 201

            await until(back, at_most=20)
