"""What ends a job ends its turn, and the next one is called."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.common import sql, store
from libs.common.store import (
    claims,
    closures,
    erasures,
    interventions,
    invariants,
    timers,
)
from tests.support import stock
from tests.support.lines import called, in_line, line_of, release, run_down
from tests.support.rivals import cancel, place_of, settle


@pytest.fixture(autouse=True)
async def everybody_is_in_turn_afterwards(conn):
    yield
    assert await invariants.misplaced(conn) == []
    assert await invariants.unjournaled(conn) == []
    assert await invariants.out_of_turn(conn) == []


async def places(conn, ids):
    return [await place_of(conn, id_) for id_ in ids]


# --- the turn ends --------------------------------------------------------------------


async def completed(conn, lane, job_id):
    [closed] = await settle(conn, *await stock.claim(conn, lane, 9))
    assert (closed.job_id, closed.left_line) == (job_id, True)


async def died(conn, lane, job_id):
    claimed = await stock.claim(conn, lane, 9)
    [closed] = await settle(conn, *claimed, how="deadlettered")
    assert (closed.job_id, closed.left_line) == (job_id, True)


async def expired_in_hand(conn, lane, job_id):
    claimed = await stock.claim(conn, lane, 9)
    [closed] = await settle(conn, *claimed, how="expired")
    assert (closed.job_id, closed.left_line) == (job_id, True)


async def cancelled(conn, lane, job_id):
    assert await cancel(conn, lane, job_id)


async def expired(conn, lane, job_id):
    await conn.execute("INSERT INTO expiries VALUES (now(), $1)", job_id)
    assert (await timers.expire(conn, limit=10)).job_ids == [job_id]


async def erased(conn, lane, job_id):
    assert await erasures.erase(
        conn, organization_id=lane.organization_id, job_ids=[job_id]
    )
    # An erased organization calls nobody by itself.
    line = line_of(lane)
    await conn.execute(
        "INSERT INTO line_checks (scope, key) VALUES ($1, $2)", line.scope, line.key
    )


@pytest.mark.parametrize(
    "end", [completed, died, expired_in_hand, cancelled, expired, erased]
)
async def test_when_a_job_has_ended_the_next_one_is_called(conn, end):
    lane = await stock.open_line(conn)
    first, second, third = await in_line(conn, lane, 3)
    await release(conn)

    await end(conn, lane, first)

    assert (await release(conn)).called == 1
    assert await place_of(conn, second) == "ready"
    assert await called(conn) == [second]
    assert await place_of(conn, third) == "held"


@pytest.mark.parametrize("end", [cancelled, expired, erased])
async def test_who_ends_before_its_turn_only_leaves(conn, end):
    lane = await stock.open_line(conn)
    first, second, third = await in_line(conn, lane, 3)
    await release(conn)

    await end(conn, lane, second)

    assert (await release(conn)).called == 0
    await completed(conn, lane, first)
    await release(conn)
    assert await called(conn) == [third]


async def test_a_worker_that_comes_too_late_for_a_job_ends_its_turn(conn):
    lane = await stock.open_line(conn, push=False)
    past = datetime.now(UTC) - timedelta(seconds=1)
    [first] = await in_line(conn, lane, 1, expires_at=past)
    [second] = await in_line(conn, lane, 1)
    await release(conn)

    given = await claims.claim_work(conn, asked=[stock.asks(lane, 5)])

    assert sum(given.expired.values()) == 1
    assert (await release(conn)).called == 1
    assert await places(conn, [first, second]) == ["finished", "ready"]


async def test_a_queue_that_is_deleted_leaves_no_lines(conn):
    lane = await stock.open_line(conn)
    ids = await in_line(conn, lane, 5)
    await release(conn)

    gone = await closures.cancel_lanes(conn, lanes=[lane.id], limit=10, actor="key")

    assert gone.jobs == len(ids)
    assert await conn.fetchval("SELECT count(*) FROM lines") == 0
    assert (await release(conn)).called == 0


# --- coming again ---------------------------------------------------------------------


async def test_a_dead_letter_that_is_tried_again_goes_to_the_end(conn):
    lane = await stock.open_line(conn)
    first, second, third = await in_line(conn, lane, 3)
    [without] = await stock.create(conn, lane)
    await release(conn)
    await settle(conn, *await stock.claim(conn, lane, 9), how="deadlettered")

    requeued = await interventions.requeue(
        conn,
        organization_id=lane.organization_id,
        job_ids=[first, without],
        actor="key",
    )

    assert {each.job_id: each.in_line for each in requeued} == {
        first: True,
        without: False,
    }
    assert await places(conn, [first, second, without]) == ["held", "held", "ready"]
    assert await run_down(conn, lane) == [second, third, first]
    attempt = "SELECT attempt FROM finished WHERE job_id = $1"
    assert await conn.fetchval(attempt, first) == 1


async def test_a_dead_letter_that_is_purged_stood_in_no_line(conn):
    lane = await stock.open_line(conn)
    [first, second] = await in_line(conn, lane, 2)
    await release(conn)
    await died(conn, lane, first)
    assert await interventions.purge(
        conn, organization_id=lane.organization_id, job_ids=[first], actor="key"
    )

    await release(conn)
    assert await called(conn) == [second]


def test_every_statement_that_ends_jobs_ends_their_turns_and_their_childrens_wait():
    """A new one must, too; and it lets go who waited for them."""
    ending = {
        name: "DELETE FROM lines" in statement and "release_children(" in statement
        for path in sorted(Path(store.__path__[0]).glob("*.sql"))
        for name, statement in sql.load(store.__name__, path.stem).items()
        if re.search(r"INSERT INTO (finished|dead)\b", statement)
    }

    assert len(ending) >= 8
    assert {name for name, ends in ending.items() if not ends} == set()
