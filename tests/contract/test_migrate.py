"""Migrations: forward only, once, whoever else is at it, and never half."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

import libs.common.migrate
from libs.common.migrate import (
    Migration,
    SchemaMismatch,
    migrate,
    migrate_patiently,
    migrations,
    until_migrated,
)
from libs.common.store import invariants
from tests.support.databases import copy_of
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
#: What a process of a service does first.
MIGRATE = """
import asyncio, sys
from libs.common.migrate import migrate
print("applied", asyncio.run(migrate(sys.argv[1])))
"""


@pytest.fixture
async def bare_url(postgres_url):
    """A database with nothing in it."""
    async with copy_of("template0", server=postgres_url) as url:
        yield url


@pytest.fixture
async def bare(bare_url):
    conn = await asyncpg.connect(bare_url)
    try:
        yield conn
    finally:
        await conn.close()


async def recorded(conn):
    rows = await conn.fetch("SELECT number, file, sha256 FROM migrations ORDER BY 1")
    return [tuple(row) for row in rows]


async def tables(conn):
    rows = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
    return {row["tablename"] for row in rows}


def expected():
    return [(each.number, each.file, each.sha256) for each in migrations()]


def with_one_more(monkeypatch, text):
    more = [*migrations(), Migration(9000, "9000_one_more.sql", text)]
    monkeypatch.setattr(libs.common.migrate, "migrations", lambda: more)


def test_migrations_are_numbered_without_a_gap():
    numbers = [migration.number for migration in migrations()]

    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_bare_database_gets_everything(bare_url, bare):
    assert await migrate(bare_url) == len(migrations())

    assert await recorded(bare) == expected()
    assert await invariants.misplaced(bare) == []
    assert len([name for name in await tables(bare) if name.startswith("jobs_")]) == 6


async def test_the_second_time_there_is_nothing_to_do(bare_url, bare):
    await migrate(bare_url)
    before = await bare.fetch("SELECT * FROM migrations")

    assert await migrate(bare_url) == 0
    assert await bare.fetch("SELECT * FROM migrations") == before


async def test_lanes_of_push_jobs_get_one_for_their_retries(
    bare_url, bare, monkeypatch
):
    before = [each for each in migrations() if each.number <= 3]
    with monkeypatch.context() as old:
        old.setattr(libs.common.migrate, "migrations", lambda: before)
        await migrate(bare_url)
    await bare.execute(
        "INSERT INTO lanes (organization_id, queue_name, destination, retired)"
        " SELECT gen_random_uuid(), 'mail', destination, retired"
        "   FROM unnest('{\"\",http://a.test,http://b.test}'::text[],"
        "               '{f,f,t}'::boolean[]) AS old (destination, retired)"
    )

    await migrate(bare_url)

    rows = await bare.fetch(
        "SELECT fresh.destination, second.destination, second.retries, second.retired"
        "  FROM lanes AS fresh"
        "  LEFT JOIN lanes AS second ON second.id = fresh.retry_lane_id"
        "                           AND second.organization_id = fresh.organization_id"
        " WHERE NOT fresh.retries ORDER BY fresh.id"
    )
    assert [tuple(row) for row in rows] == [
        ("", None, None, None),
        ("http://a.test", "http://a.test", True, False),
        ("http://b.test", "http://b.test", True, True),
    ]


async def test_five_processes_at_once_apply_everything_once(bare_url, bare):
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            MIGRATE,
            bare_url,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(5)
    ]

    said = [await process.communicate() for process in processes]

    assert [process.returncode for process in processes] == [0] * 5, said
    applied = sorted(int(out.decode().rsplit("applied", 1)[1]) for out, _ in said)
    assert applied == [0, 0, 0, 0, len(migrations())]
    assert await recorded(bare) == expected()


async def test_an_altered_file_is_refused(bare_url, bare):
    await migrate(bare_url)
    await bare.execute("UPDATE migrations SET sha256 = 'another' WHERE number = 1")

    with pytest.raises(SchemaMismatch, match=migrations()[0].file):
        await migrate(bare_url)


async def test_a_newer_database_is_left_as_it_is(bare_url, bare):
    await migrate(bare_url)
    await bare.execute("INSERT INTO migrations VALUES (9999, 'of_tomorrow.sql', 'x')")

    assert await migrate(bare_url) == 0

    assert (9999, "of_tomorrow.sql", "x") in await recorded(bare)


async def test_a_database_of_another_line_is_refused_untouched(
    bare_url, bare, monkeypatch
):
    await migrate(bare_url)
    await bare.execute("INSERT INTO migrations VALUES (9999, 'of_tomorrow.sql', 'x')")
    with_one_more(monkeypatch, "CREATE TABLE too_late ()")

    with pytest.raises(SchemaMismatch, match="9999"):
        await migrate(bare_url)

    assert "too_late" not in await tables(bare)


async def test_a_migration_that_fails_leaves_nothing_and_blocks_nobody(
    bare_url, bare, monkeypatch
):
    with monkeypatch.context() as patch:
        with_one_more(patch, "CREATE TABLE half (n int); SELECT 1 / 0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(bare_url)

    # What came before it stays, and the next one finds the lock free.
    assert "half" not in await tables(bare)
    assert await recorded(bare) == expected()
    with monkeypatch.context() as patch:
        with_one_more(patch, "CREATE TABLE whole (n int)")
        assert await asyncio.wait_for(migrate(bare_url), 5) == 1
    assert "whole" in await tables(bare)


async def test_who_is_patient_waits_for_who_holds_a_table(bare_url, bare, monkeypatch):
    await migrate(bare_url)
    with_one_more(monkeypatch, "ALTER TABLE queues ADD COLUMN more int")
    async with bare.transaction():
        await bare.execute("LOCK TABLE queues IN ACCESS SHARE MODE")
        waiting = asyncio.create_task(migrate_patiently(bare_url))
        # Longer than a migration stands in everybody's way.
        done, _ = await asyncio.wait({waiting}, timeout=6)
        assert not done

    assert await asyncio.wait_for(waiting, 30) == 1


async def test_who_is_patient_waits_for_a_postgres_that_is_away(own_postgres):
    await own_postgres.stop()
    waiting = asyncio.create_task(migrate_patiently(own_postgres.url))
    done, _ = await asyncio.wait({waiting}, timeout=2)
    assert not done

    await own_postgres.start()

    assert await asyncio.wait_for(waiting, 60) == len(migrations())


async def test_who_migrates_waits_for_who_is_at_it(bare_url, bare):
    await bare.execute("SELECT pg_advisory_lock($1)", libs.common.migrate._LOCK)
    waiting = asyncio.create_task(migrate(bare_url))
    other = await asyncpg.connect(bare_url)
    await until(
        lambda: other.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
    )
    assert await tables(bare) == set()

    await bare.execute("SELECT pg_advisory_unlock($1)", libs.common.migrate._LOCK)

    assert await asyncio.wait_for(waiting, 10) == len(migrations())
    await other.close()


async def test_who_waits_for_the_schema_changes_nothing_and_sees_it_come(
    bare_url, bare
):
    waiting = asyncio.create_task(until_migrated(bare_url))
    done, _ = await asyncio.wait({waiting}, timeout=1.5)
    assert not done
    assert await tables(bare) == set()

    await migrate(bare_url)
    await asyncio.wait_for(waiting, 30)


async def test_a_newer_schema_will_do_for_who_waits(bare_url, bare):
    await migrate(bare_url)
    await bare.execute(
        "INSERT INTO migrations (number, file, sha256) VALUES (9000, 'later.sql', '')"
    )

    await asyncio.wait_for(until_migrated(bare_url), 30)


async def test_who_waits_refuses_what_is_not_what_was_applied(bare_url, bare):
    await migrate(bare_url)
    await bare.execute("UPDATE migrations SET sha256 = '' WHERE number = 1")

    with pytest.raises(SchemaMismatch):
        await until_migrated(bare_url)
