"""The doctor finds what is broken, in real servers, and says what to do."""

from datetime import UTC, datetime, timedelta

import asyncpg
import nats
import nats.js.errors
import pytest

from libs.cli.doctor import database as database_checks
from libs.cli.doctor.clocks import clock
from libs.cli.doctor.database import look_at_database
from libs.cli.doctor.messaging import look_at_nats
from libs.cli.doctor.surroundings import look_at_disk, look_at_services
from libs.cli.embedded.ports import free_port
from libs.cli.embedded.postgres import run_postgres
from libs.common.messages import EVENTS, WORK
from libs.common.migrate import migrate
from tests.support.waiting import until


async def found(checks):
    """What each check said; of several under one name, the last."""
    return {finding.check: finding async for finding in checks}


async def test_a_house_that_runs_is_well(house, carrying, api, database_url, nats_url):
    await api.create()

    async def all_well():
        said = await found(look_at_database(database_url))
        return said if said["duties"].state == "ok" else None

    said = await until(all_well, at_most=20)
    for check in ("Postgres", "clock of Postgres", "migrations", "partitions"):
        assert said[check].state == "ok", said[check]
    assert (said["overdue"].state, said["oldest transaction"].state) == ("ok", "ok")
    assert said["dead letters"].state == "ok"

    async def served():
        said = await found(look_at_nats(nats_url))
        return said if said[WORK.name].state == said["delivery"].state == "ok" else None

    said = await until(served, at_most=20)
    assert said["clock of NATS"].state == "ok"
    assert said[EVENTS.name].state == "ok"


async def test_settings_that_bend_durability_are_told(tmp_path, database_url):
    said = await found(look_at_database(database_url))
    assert said["durability"].state == "ok"

    bent = {"fsync": "off", "full_page_writes": "off"}
    async with run_postgres(tmp_path / "postgres", settings=bent) as server:
        said = await found(look_at_database(server.url))

    assert said["durability"].state == "fail"
    assert said["durability"].found == "fsync = off, full_page_writes = off"
    assert "set it to on" in said["durability"].advice
    assert said["migrations"].found.startswith("missing: 0001_")


async def test_a_database_that_is_not_at_this_version_is_told(database_url, conn):
    await conn.execute("DELETE FROM migrations WHERE number = 1")
    said = await found(look_at_database(database_url))
    assert said["migrations"].state == "fail"
    assert "0001_" in said["migrations"].found
    assert "`bellhop migrate`" in said["migrations"].advice

    await conn.execute("INSERT INTO migrations VALUES (1, 'x', 'y')")
    said = await found(look_at_database(database_url))
    assert said["migrations"].state == "fail"
    assert "not what was applied: 0001_" in said["migrations"].found


async def test_a_database_that_is_newer_is_worth_a_look(database_url, conn):
    await conn.execute("INSERT INTO migrations VALUES (9999, 'x', 'y')")
    said = await found(look_at_database(database_url))
    assert said["migrations"].state == "warn"
    assert "newer: 9999" in said["migrations"].found


async def test_who_holds_old_rows_is_named_with_how_to_end_it(
    database_url, conn, monkeypatch
):
    monkeypatch.setattr(database_checks, "_LONG_SECONDS", 0.0)
    other = await asyncpg.connect(
        database_url, server_settings={"application_name": "somebody's report"}
    )
    await other.execute("BEGIN; SELECT count(*) FROM jobs")
    try:
        said = await found(look_at_database(database_url))
    finally:
        await other.close()

    holder = said["oldest transaction"]
    assert holder.state == "warn"
    assert "somebody's report" in holder.found
    assert "pg_terminate_backend" in holder.advice


async def test_whoever_a_migration_hangs_behind_is_named(
    database_url, conn, monkeypatch
):
    monkeypatch.setattr(database_checks, "_LONG_SECONDS", 0.0)
    await conn.execute("DELETE FROM migrations WHERE number = 1")
    other = await asyncpg.connect(database_url)
    await other.execute("BEGIN; SELECT count(*) FROM jobs")
    try:
        said = await found(look_at_database(database_url))
    finally:
        await other.close()

    assert said["migrations"].state == "fail"
    assert said["oldest transaction"].state == "warn"


async def test_what_is_left_of_transactions_and_readers_is_told(tmp_path, monkeypatch):
    settings = {"wal_level": "logical", "max_prepared_transactions": "4"}
    async with run_postgres(tmp_path / "postgres", settings=settings) as server:
        await migrate(server.url)
        conn = await asyncpg.connect(server.url)
        young = [await asyncpg.connect(server.url) for _ in range(6)]
        try:
            for one in young:
                await one.execute("BEGIN")
            await conn.execute(
                "SELECT pg_create_logical_replication_slot('gone', 'pgoutput')"
            )
            await conn.execute("BEGIN; CREATE TABLE left_over (n int)")
            await conn.execute("PREPARE TRANSACTION 'forgotten'")
            said = await holders(server.url)
            assert [one.state for one in said] == ["ok"]

            # Many young transactions do not hide who is behind.
            monkeypatch.setattr(database_checks, "_BEHIND_TRANSACTIONS", 0)
            [slot] = await holders(server.url)
            monkeypatch.setattr(database_checks, "_BEHIND_TRANSACTIONS", 1_000_000)
            for one in young:
                await one.execute("ROLLBACK")
            monkeypatch.setattr(database_checks, "_LONG_SECONDS", 0.0)
            [prepared] = await holders(server.url)
            monkeypatch.setattr(database_checks, "_TOO_LONG_SECONDS", 0.0)
            [old] = await holders(server.url)

            await conn.execute("ROLLBACK PREPARED 'forgotten'")
            await conn.execute("SELECT pg_drop_replication_slot('gone')")
            said = await holders(server.url)
        finally:
            for one in (conn, *young):
                await one.close()

    assert slot.state == "warn"
    assert slot.found == "replication slot gone (logical, idle)"
    assert "drop it" in slot.advice
    assert prepared.state == "warn"
    assert prepared.found.startswith("prepared transaction forgotten (")
    assert prepared.advice == "COMMIT or ROLLBACK PREPARED 'forgotten'"
    assert old.state == "fail"
    assert [one.state for one in said] == ["ok"]


async def holders(url):
    """What was said of who holds old rows."""
    return [
        finding
        async for finding in look_at_database(url)
        if finding.check == "oldest transaction"
    ]


async def test_what_nobody_does_is_told(database_url, conn):
    await conn.execute(
        "INSERT INTO leases (id, owner, deadline, taken_up, job_ids) VALUES "
        "(gen_random_uuid(), 'gone', now() - interval '5 minutes', true, '{}')"
    )
    said = await found(look_at_database(database_url))

    assert said["duties"].state == "fail"
    assert said["overdue"].state == "fail"
    assert said["overdue"].found.startswith("1 leases")


async def test_weeks_that_are_not_ready_are_told(database_url, conn):
    week = "date_trunc('week', now() AT TIME ZONE 'UTC') + interval '1 week'"
    name = await conn.fetchval(
        f"""SELECT 'finished' || to_char({week}, '_IYYY"w"IW')"""
    )
    await conn.execute(f'DROP TABLE "{name}"')
    said = await found(look_at_database(database_url))
    assert said["partitions"].state == "fail"
    assert "finished" in said["partitions"].found


async def test_dead_letters_that_grow_are_told_by_queue(database_url, conn, api):
    await api.create(queue_name="mail")
    lane = await conn.fetchval("SELECT id FROM lanes WHERE queue_name = 'mail'")
    await conn.execute(
        "INSERT INTO tallies (lane_id, bucket, transition, jobs) "
        "VALUES ($1, date_trunc('minute', now()), 'deadlettered', 30), "
        "       ($1, date_trunc('minute', now()), 'completed', 70)",
        lane,
    )
    said = await found(look_at_database(database_url))
    await conn.execute("DELETE FROM tallies")

    assert said["dead letters"].state == "warn"
    assert "30 of 100" in said["dead letters"].found
    assert "mail 30" in said["dead letters"].found


async def test_a_consumer_that_does_not_move_is_told(house, api, nats_url):
    await api.create()
    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()

        async def told():
            try:
                info = await jetstream.stream_info(EVENTS.name)
            except nats.js.errors.NotFoundError:
                return False
            return info.state.messages > 0

        await until(told, at_most=20)
        await jetstream.add_consumer(EVENTS.name, durable_name="forgotten")
        said = await found(look_at_nats(nats_url))
    finally:
        await client.close()

    stalled = said[f"consumer forgotten of {EVENTS.name}"]
    assert stalled.state == "warn"
    assert "stalls" in stalled.found
    assert said["delivery"].state == "fail", "no pod runs here"


async def test_servers_that_are_away_are_told():
    nowhere = free_port()
    said = await found(look_at_database(f"postgresql://127.0.0.1:{nowhere}/none"))
    assert said["Postgres"].state == "fail"
    said = await found(look_at_nats(f"nats://127.0.0.1:{nowhere}"))
    assert said["NATS"].state == "fail"
    assert "NATS_URL" in said["NATS"].advice
    address = f"http://127.0.0.1:{nowhere}/health/ready"
    said = await found(look_at_services({"ingest": address}))
    assert said["ingest"].state == "fail"


def test_clocks_that_are_apart_are_told():
    now = datetime.now(UTC)
    apart = [0.2, -3, 90]
    states = [clock("x", now + timedelta(seconds=s), now).state for s in apart]
    assert states == ["ok", "warn", "fail"]
    assert "behind" in clock("x", now - timedelta(seconds=3), now).found


@pytest.mark.parametrize("free", [50, 5, 1])
def test_a_disk_that_fills_up_is_told(tmp_path, monkeypatch, free):
    usage = type("Usage", (), {"total": 100 * 2**30, "free": free * 2**30})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    assert look_at_disk(tmp_path).state == {50: "ok", 5: "warn", 1: "fail"}[free]
