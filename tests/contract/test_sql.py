"""SQL has a type checker after all, and agrees with the Python that speaks of it."""

import importlib
import inspect
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from libs.common import ids, sql, store
from libs.common.lifecycle import CRASHES_MAX, MOVES, Place, Status, Transition
from libs.common.store import invariants, settlement
from tests.support.databases import copy_of

SUBJECTS = sorted(path.stem for path in Path(store.__path__[0]).glob("*.sql"))
ID = UUID("0191d0a0-0000-7000-8000-000000000001")

#: What to write into the table of a place besides its job.
ROWS = {
    Place.READY: "(lane_id, rank, ready_at, job_id) VALUES (1, 100, now(), $1)",
    Place.SCHEDULED: "(run_at, job_id, lane_id, rank) VALUES (now(), $1, 1, 100)",
    Place.WAITING: "(job_id, lane_id, rank) VALUES ($1, 1, 100)",
    Place.HELD: "(job_id, lane_id, rank, reason) VALUES ($1, 1, 100, 'because')",
    Place.LEASED: "VALUES ($1, $1, 1, 100, 1, 0, 0)",
    Place.FINISHED: "VALUES ($1, 1, 100, 1, 0, 'completed')",
    Place.DEAD: "VALUES ($1, 1, 100, 1, 0, 'gone', 'HTTP 410')",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_url(postgres_url, migrated_template):
    """One database for tests that leave nothing behind."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        yield url


@pytest.fixture
async def conn(shared_url):
    """A connection whose work is undone."""
    connection = await asyncpg.connect(shared_url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def labels(conn, enum):
    rows = await conn.fetch(f"SELECT unnest(enum_range(NULL::{enum}))::text AS label")
    return [row["label"] for row in rows]


# --- statements -----------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_every_statement_fits_the_schema(conn, subject):
    """Postgres parses and types it; nothing runs."""
    misfits = {}
    for name, statement in sql.load(store.__name__, subject).items():
        try:
            async with conn.transaction():
                await conn.prepare(statement)
        except asyncpg.PostgresError as error:
            misfits[name] = str(error)

    assert misfits == {}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_statements_and_functions_go_by_the_same_names_in_the_same_order(subject):
    module = importlib.import_module(f"{store.__name__}.{subject}")
    functions = [
        function
        for _, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
        and not function.__name__.startswith("_")
    ]
    functions.sort(key=lambda function: function.__code__.co_firstlineno)

    assert [function.__name__ for function in functions] == list(module.SQL)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_statement_says_what_its_parameters_are(subject):
    for name, statement in sql.load(store.__name__, subject).items():
        comments = "\n".join(re.findall(r"--.*", statement))
        code = re.sub(r"--.*", "", statement)
        used = set(re.findall(r"\$\d+", code))
        told = used if "as in" in comments else set(re.findall(r"\$\d+", comments))
        assert used <= told, name


# --- the same words on both sides -----------------------------------------------------


async def test_the_journal_knows_every_transition_and_no_other(conn):
    assert await labels(conn, "transition") == [str(each) for each in Transition]


async def test_endings_deaths_and_verdicts_are_what_python_calls_them(conn):
    assert set(await labels(conn, "ending")) == {
        Status.COMPLETED,
        Status.CANCELLED,
        Status.EXPIRED,
    }
    assert set(await labels(conn, "death")) == {
        *get_args(settlement.Death),
        "quarantined",
    }
    assert set(get_args(settlement.How)) < set(Transition)


async def test_the_view_shows_each_place_under_its_name(conn):
    written = {ids.new_id(): place for place in Place}
    assert ROWS.keys() == set(Place)
    for id_, place in written.items():
        await conn.execute(f"INSERT INTO {place} {ROWS[place]}", id_)

    shown = await conn.fetch("SELECT job_id, place FROM places")

    assert {row["job_id"]: row["place"] for row in shown} == written


async def test_a_job_in_two_places_or_in_none_is_misplaced(conn):
    """The tests of everything else stand on this one."""
    twice, nowhere = ids.new_id(), ids.new_id()
    for id_ in (twice, nowhere):
        await conn.execute(
            "INSERT INTO jobs (id, organization_id, queue_name, payload, max_retries,"
            " timeout_seconds) VALUES ($1, $1, 'mail', '1', 3, 300)",
            id_,
        )
    await conn.execute(f"INSERT INTO ready {ROWS[Place.READY]}", twice)
    await conn.execute(f"INSERT INTO held {ROWS[Place.HELD]}", twice)
    await conn.execute(f"INSERT INTO dead {ROWS[Place.DEAD]}", ID)

    assert [dict(row) for row in await invariants.misplaced(conn)] == [
        {"job_id": ID, "places": ["dead"]},
        {"job_id": twice, "places": ["held", "ready"]},
        {"job_id": nowhere, "places": []},
    ]
    assert {row["job_id"] for row in await invariants.unjournaled(conn)} == {
        ID,
        twice,
    }


def test_what_the_journal_leads_to_is_what_the_lifecycle_says():
    leads = {
        transition: set(places.split(","))
        for transition, places in re.findall(
            r"WHEN '(\w+)' +THEN '\{([\w,]+)\}'", invariants.SQL["unjournaled"]
        )
    }
    targets = {
        str(transition): {str(after) for _, after in moves if after is not None}
        for transition, moves in MOVES.items()
    }

    assert leads == {name: places for name, places in targets.items() if places}


@pytest.mark.parametrize("place", Place)
async def test_a_place_is_called_what_the_contract_calls_it(conn, place):
    called = {
        (ending, retries): await conn.fetchval(
            "SELECT status_of($1, $2, $3)", place, ending, retries
        )
        for ending in ("completed", "cancelled", "expired", None)
        for retries in (0, 1, 7)
    }

    for (ending, retries), status in called.items():
        match place:
            case Place.FINISHED:
                assert status == ending
            case Place.LEASED:
                assert status == Status.PROCESSING
            case Place.DEAD:
                assert status == Status.DEADLETTER
            case Place.SCHEDULED if retries == 0:
                assert status == Status.SCHEDULED
            case _:
                assert status == Status.PENDING


async def test_the_first_id_of_a_moment_is_the_same_on_both_sides(conn):
    luck = random.Random(7)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    moments = [
        epoch + timedelta(microseconds=luck.randrange(1 << 52)) for _ in range(500)
    ]
    moments += [epoch, datetime(2026, 11, 23, tzinfo=UTC)]

    rows = await conn.fetch(
        "SELECT first_id_at(moment) AS id FROM unnest($1::timestamptz[]) AS moment",
        moments,
    )

    assert [row["id"] for row in rows] == [ids.first_id_at(each) for each in moments]


def test_a_job_may_die_under_as_many_processes_as_the_design_says():
    assert CRASHES_MAX == 3
