"""Letting messages in: only for endpoints as they are, and each key once."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pytest

from libs.common.db import BY_KEY
from libs.common.envelopes import body_of
from libs.common.ids import new_id
from libs.common.store import endpoints, messages, organizations
from libs.common.store.endpoints import NewEndpoint
from libs.common.store.messages import NewMessage
from tests.support import stock
from tests.support.plans import connected, plan_of, prepare, read_whole
from tests.support.rivals import blocked, undecided


@pytest.fixture
async def connect(database_url):
    async with AsyncExitStack() as stack:

        async def opened():
            conn = await asyncpg.connect(
                database_url, server_settings={"jit": "off", **BY_KEY}
            )
            stack.push_async_callback(conn.close)
            return conn

        yield opened


@pytest.fixture
async def line(conn):
    """An organization with an endpoint."""
    return await stock.open_endpoint(conn)


def message(line, **fields):
    return NewMessage(
        **{
            "id": new_id(),
            "organization_id": line.organization_id,
            "version": 1,
            "event_type": "invoice.paid",
            "payload": '{ "n": 1.0 }',
            "fingerprint": b"same" if "idempotency_key" in fields else None,
            **fields,
        }
    )


async def outcomes(conn, *made):
    found = await messages.create(conn, messages=made)
    return [found[one.id] for one in made]


async def count(conn):
    return (
        await conn.fetchval("SELECT count(*) FROM messages"),
        await conn.fetchval("SELECT count(*) FROM message_keys"),
    )


async def change(conn, line):
    """Change an endpoint of the organization, which counts on its version."""
    async with conn.transaction():
        await organizations.lock_organization(conn, id_=line.organization_id)
        assert await endpoints.change_endpoint(
            conn,
            organization_id=line.organization_id,
            id_=line.endpoint_id,
            changes={"event_types": ["other"]},
        )


async def test_a_message_is_kept_as_it_came(conn, line):
    made = message(line, ordering_key="o", idempotency_key="k")

    assert await outcomes(conn, made) == ["created"]

    row = await messages.read_message(
        conn, organization_id=line.organization_id, id_=made.id
    )
    assert row is not None
    assert row["payload"] == '{ "n": 1.0 }'
    assert (row["ordering_key"], row["idempotency_key"]) == ("o", "k")
    assert row["created_at"].timestamp() * 1000 == made.id.int >> 80


async def test_what_was_planned_for_other_endpoints_stays_out(conn, line):
    other = await stock.open_endpoint(conn)
    await change(conn, line)

    assert await outcomes(
        conn,
        message(line, idempotency_key="k"),
        message(line, version=2, idempotency_key="k"),
        message(other),
        message(other, version=2),
    ) == ["stale", "created", "created", "stale"]
    assert await count(conn) == (2, 1)


async def test_of_an_organization_that_is_no_more_nothing_is_let_in(conn, line):
    await conn.execute("UPDATE organizations SET erased_at = now()")

    assert await outcomes(conn, message(line)) == ["gone"]
    nobody = message(line, organization_id=new_id())
    assert await outcomes(conn, nobody) == ["gone"]
    assert await count(conn) == (0, 0)


async def test_a_key_is_taken_once_and_only_in_its_organization(conn, line):
    other = await stock.open_endpoint(conn)
    first = message(line, idempotency_key="k")

    assert await outcomes(
        conn,
        first,
        message(line, idempotency_key="k"),
        message(line, idempotency_key="l"),
        message(other, idempotency_key="k"),
        message(line),
        message(line),
    ) == ["created", "taken", "created", "created", "created", "created"]
    assert await outcomes(conn, message(line, idempotency_key="k")) == ["taken"]
    found = await messages.find_by_keys(
        conn, keys=[(line.organization_id, "k"), (line.organization_id, "none")]
    )
    assert {key: one.message_id for key, one in found.items()} == {
        (line.organization_id, "k"): first.id
    }


async def test_who_changes_an_endpoint_waits_for_messages_that_are_under_way(
    conn, connect, line
):
    sender, changer = await connect(), await connect()
    async with undecided(sender) as transaction:
        assert await outcomes(sender, message(line)) == ["created"]
        waiting = await blocked(conn, change(changer, line))
        await transaction.commit()
    await waiting

    assert await outcomes(conn, message(line)) == ["stale"]


async def test_a_message_waits_for_a_change_and_then_sees_it(conn, connect, line):
    sender, changer = await connect(), await connect()
    async with undecided(changer) as transaction:
        await organizations.lock_organization(changer, id_=line.organization_id)
        await endpoints.change_endpoint(
            changer,
            organization_id=line.organization_id,
            id_=line.endpoint_id,
            changes={"ordered": True},
        )
        # Its view is older than the change, and yet it does not pass.
        waiting = await blocked(conn, outcomes(sender, message(line)))
        await transaction.commit()

    assert await waiting == ["stale"]


@pytest.mark.parametrize("how", ["create", "delete"])
async def test_every_way_to_change_endpoints_counts(conn, connect, line, how):
    sender, changer = await connect(), await connect()
    async with undecided(changer) as transaction:
        if how == "create":
            await endpoints.create_endpoint(
                changer,
                organization_id=line.organization_id,
                new=NewEndpoint(id=new_id(), url="https://example.com/"),
            )
        else:
            assert await endpoints.delete_endpoint(
                changer, organization_id=line.organization_id, id_=line.endpoint_id
            )
        waiting = await blocked(conn, outcomes(sender, message(line)))
        await transaction.commit()

    assert await waiting == ["stale"]


async def test_who_holds_the_endpoints_plans_for_what_they_are(conn, connect, line):
    changer = await connect()
    async with conn.transaction():
        await messages.hold_endpoints(conn, organization_ids=[line.organization_id])
        rows = await endpoints.read_subscriptions(
            conn, organization_ids=[line.organization_id]
        )
        watcher = await connect()
        waiting = await blocked(watcher, change(changer, line))
        version = rows[0]["endpoints_version"]
        assert await outcomes(conn, message(line, version=version)) == ["created"]
    await waiting


async def test_many_who_send_at_once_do_not_wait_for_each_other(conn, connect, line):
    one, other = await connect(), await connect()
    async with undecided(one):
        assert await outcomes(one, message(line)) == ["created"]
        made = await asyncio.wait_for(outcomes(other, message(line)), 5)
        assert made == ["created"]


async def test_letting_in_reads_no_table_whole(conn, database_url, line):
    async def create(conn, line):
        made = [message(line, idempotency_key=f"k{n}") for n in range(500)]
        await messages.create(conn, messages=made)

    async def find_by_keys(conn, line):
        keys = [(line.organization_id, f"k{n}") for n in range(50)]
        await messages.find_by_keys(conn, keys=keys)

    async def read_subscriptions(conn, line):
        await endpoints.read_subscriptions(
            conn, organization_ids=[line.organization_id]
        )

    found = {}
    for statements, function in (
        (messages.SQL, create),
        (messages.SQL, find_by_keys),
        (endpoints.SQL, read_subscriptions),
    ):
        async with connected(database_url, BY_KEY) as service:
            call = await prepare(service, statements[function.__name__], function, line)
            found[function.__name__] = read_whole(await plan_of(service, call))

    assert not any(found.values()), found


@pytest.mark.parametrize(
    "payload", ['{ "a" : 1.0 }', "null", '"\\u0000 ü 😀 \\" %s"', "[1e3]"]
)
async def test_postgres_spells_the_same_envelope(conn, payload):
    # Beginnings and ends of milliseconds, seconds, leap days and the epoch itself.
    moments = [0, 1, 999, 1000, 951_782_399_999, 1_709_164_800_000, 1_893_455_999_999]
    moments += [1_700_000_000_000 + 7919 * n for n in range(200)]
    ids = [new_id(), *(UUID(int=(m << 80) | (7 << 76) | (2**63 + m)) for m in moments)]

    rows = await conn.fetch(
        "SELECT envelope(id, 'invoice.paid', $2::text::json::text) AS body"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place) ORDER BY place",
        ids,
        payload,
    )

    assert [row["body"] for row in rows] == [
        body_of("envelope", message_id=id_, event_type="invoice.paid", payload=payload)
        for id_ in ids
    ]
