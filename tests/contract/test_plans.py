"""The hot statements find their rows by key, however full or empty the tables are.

A plan is what a service would run: with the planner settings of its pool, generic or
not, from a planner that saw the tables empty or full.
"""

import ast
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

import services.dispatcher.service
import services.ingest.service
import services.scheduler.service
from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import (
    announcing,
    claims,
    closures,
    dependencies,
    endpoint_health,
    jobs,
    leases,
    limits,
    lines,
    receivers,
    resting,
    settlement,
    telling,
    timers,
)
from libs.common.store.endpoint_health import Outcomes, Verdict
from libs.common.store.journal import Position
from libs.common.store.leases import Renewed
from libs.common.store.limits import Gate
from libs.common.store.settlement import Question, Settled
from services.scheduler.relay import ENDS
from tests.support import stock
from tests.support.databases import copy_of
from tests.support.lines import line_of
from tests.support.plans import connected, kinds_of, plan_of, prepare, read_whole
from tests.support.stocktaking import FILL

JOBS = 40_000
#: What the planner meets: tables it knows nothing of; tables that were empty when it
#: last looked, as they are whenever the house has caught up; and tables it knows full.
STOCKS = ("new", "empty", "full")
#: Where functions are run, to see what they hand to their statements.
SCRATCH = "scratch"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stocked(postgres_url, migrated_template):
    """A database for each of `STOCKS`, by name: (url, line)."""
    async with AsyncExitStack() as stack:
        found = {}
        for name in (*STOCKS, SCRATCH):
            url = await stack.enter_async_context(
                copy_of(migrated_template, server=postgres_url)
            )
            conn = await asyncpg.connect(url)
            line = await stock.open_line(conn)
            for number in range(20):
                await stock.open_line(conn, queue_name=f"queue-{number}")
            if name == "full":
                await conn.execute(FILL, JOBS, line.organization_id, line.id)
            if name != "new":
                await conn.execute("ANALYZE")
            await conn.close()
            found[name] = url, line
        yield found


async def plan_on(stocked, stock_of, statement, function):
    """Return the plan of *statement* where nobody ran anything before."""
    url, _ = stocked[stock_of]
    scratch_url, line = stocked[SCRATCH]
    async with (
        connected(scratch_url, BY_KEY) as scratch,
        connected(url, BY_KEY) as conn,
    ):
        call = await prepare(scratch, statement, function, line, beside=conn)
        return await plan_of(conn, call)


# --- the hot statements, as the services call them ------------------------------------


async def claim(conn, line):
    await claims.claim(
        conn,
        quotas={line.id + number: 64 for number in range(8)},
        lease_jobs_max=64,
        owner="dispatcher",
        lease=timedelta(seconds=7),
        payload_bytes_max=65536,
    )


async def claim_work(conn, line):
    asked = [
        replace(stock.asks(line, 10), lane_id=line.id + number % 8)
        for number in range(64)
    ]
    await claims.claim_work(conn, asked=asked)


async def ready_lanes(conn, line):
    await claims.ready_lanes(conn, after=line.id, limit=2000)


async def lock_gates(conn, line):
    await limits.lock_gates(conn, lanes=range(line.id, line.id + 8))


async def read_rooms(conn, line):
    lanes = range(line.id, line.id + 8)
    await limits.read_rooms(conn, lanes=lanes, locked=[new_id() for _ in lanes])


async def spend(conn, _):
    started = {Gate(kind, new_id()): 5 for kind in ("queue", "endpoint") * 8}
    await limits.spend(conn, started=started)


async def read_policies(conn, _):
    await settlement.read_policies(conn, leases=[(new_id(), new_id(), None)] * 200)


async def settle(conn, _):
    attempts = [
        Settled(job_id=new_id(), lease_id=new_id(), how="completed")
        for _ in range(1000)
    ]
    await settlement.settle(conn, attempts=attempts, actor="dispatcher")


async def read_receivers(conn, _):
    await receivers.read_receivers(conn, endpoint_ids=[new_id() for _ in range(64)])


async def note_outcomes(conn, _):
    outcomes = [
        Outcomes(
            endpoint_id=new_id(),
            url_version=1,
            failed=1,
            failed_last=1,
            error="HTTP 500",
        )
        for _ in range(64)
    ]
    await endpoint_health.note_outcomes(conn, outcomes=outcomes)


async def lock_health(conn, _):
    ids = [new_id() for _ in range(64)]
    await endpoint_health.lock_health(conn, endpoint_ids=ids)


async def lock_owners(conn, _):
    ids = [new_id() for _ in range(64)]
    await endpoint_health.lock_owners(conn, endpoint_ids=ids)


async def disable(conn, _):
    verdict = Verdict(
        endpoint_id=new_id(), url_version=1, reason="gone", since=datetime.now(UTC)
    )
    await endpoint_health.disable(conn, verdicts=[verdict])


async def forget_minutes(conn, _):
    await endpoint_health.forget_minutes(
        conn, older_than=timedelta(days=2), at_most=5000
    )


async def lanes_at_rest(conn, _):
    await resting.lanes_at_rest(conn, after=0, limit=2000)


async def hold(conn, line):
    await resting.hold(conn, lanes=range(line.id, line.id + 20), limit=200)


async def lanes_to_wake(conn, _):
    await resting.lanes_to_wake(conn, after=0, limit=2000)


async def wake(conn, line):
    await resting.wake(conn, lanes=range(line.id, line.id + 20), limit=200)


async def deleted_endpoints(conn, _):
    await resting.deleted_endpoints(conn, limit=50)


async def remove_endpoint(conn, _):
    await resting.remove_endpoint(conn, endpoint_id=new_id())


async def cancel_lanes(conn, line):
    lanes = range(line.id, line.id + 20)
    await closures.cancel_lanes(conn, lanes=lanes, limit=200, actor=None)


async def find_room(conn, line):
    await settlement.find_room(conn, lanes=[line.id + number for number in range(8)])


async def read_standing(conn, line):
    asked = Question(
        job_id=new_id(),
        organization_id=line.organization_id,
        queues=("mail",),
        owner="worker",
    )
    await settlement.read_standing(conn, questions=[asked] * 100)


async def renew(conn, _):
    ids = [new_id() for _ in range(100)]
    await leases.renew(conn, lease_ids=ids, lease=timedelta(seconds=7))


async def note_taken_up(conn, _):
    await leases.note_taken_up(conn, lease_ids=[new_id() for _ in range(100)])


async def recover(conn, _):
    await leases.recover(conn, limit=50)


async def renew_work(conn, line):
    renewals = [
        Renewed(
            job_id=new_id(),
            lease_id=new_id(),
            owner="worker",
            organization_id=line.organization_id,
            queues=None,
            lease=timedelta(seconds=30),
        )
        for _ in range(500)
    ]
    await leases.renew_work(conn, renewals=renewals)


async def recover_work(conn, _):
    await leases.recover_work(conn, limit=500)


async def release_work(conn, line):
    await leases.release_work(
        conn, organization_id=line.organization_id, owner="worker 1"
    )


async def expire_leases_of(conn, line):
    workers = [(line.organization_id, f"worker {number}") for number in range(10)]
    await leases.expire_leases_of(conn, workers=workers)


async def promote_due(conn, _):
    await timers.promote_due(conn, limit=1000)


async def next_due(conn, _):
    await timers.next_due(conn)


async def expire(conn, _):
    await timers.expire(conn, limit=1000)


async def release(conn, _):
    await dependencies.release(conn, limit=500)


async def is_noted(conn, _):
    await lines.is_noted(conn)


async def look(conn, _):
    await lines.look(conn, limit=200)


async def call(conn, line):
    names = [(f"queue:{line.organization_id}:mail", f"key {n}") for n in range(200)]
    checks = [lines.Check(number, *name) for number, name in enumerate(names)]
    await lines.call(conn, checks=checks)


async def read_turn(conn, _):
    await lines.read_turn(conn, job_id=new_id())


async def recheck(conn, line):
    await lines.recheck(
        conn, organization_id=line.organization_id, queue_name=line.queue_name
    )


async def read_untold(conn, _):
    position = Position("100", 1)
    await telling.read_untold(conn, after=position, limit=500, ends=ENDS)


async def read_unannounced(conn, _):
    position = Position("100", 1)
    await announcing.read_unannounced(conn, after=position, limit=500)


async def create(conn, line):
    made = [
        stock.new_job(line, idempotency_key=f"new {n}", line=line_of(line, f"key {n}"))
        for n in range(500)
    ]
    await jobs.create(conn, jobs=made)


async def find_by_keys(conn, line):
    keys = [(line.organization_id, f"key {number}") for number in range(50)]
    await jobs.find_by_keys(conn, keys=keys)


BY_THE_DISPATCHER = (
    claims.SQL,
    (claim, claim_work, ready_lanes),
    limits.SQL,
    (lock_gates, read_rooms, spend),
    settlement.SQL,
    (read_policies, settle, find_room, read_standing),
    endpoint_health.SQL,
    (lock_health, note_outcomes, lock_owners, disable),
    receivers.SQL,
    (read_receivers,),
    leases.SQL,
    (renew, note_taken_up, recover, renew_work, release_work),
)
BY_INGEST = (jobs.SQL, (create, find_by_keys))
BY_THE_SCHEDULER = (
    timers.SQL,
    (promote_due, next_due, expire),
    dependencies.SQL,
    (release,),
    leases.SQL,
    (recover_work, expire_leases_of),
    lines.SQL,
    (is_noted, look, call, recheck, read_turn),
    endpoint_health.SQL,
    (forget_minutes,),
    resting.SQL,
    (
        lanes_at_rest,
        hold,
        lanes_to_wake,
        wake,
        deleted_endpoints,
        remove_endpoint,
    ),
    closures.SQL,
    (cancel_lanes,),
    telling.SQL,
    (read_untold,),
    announcing.SQL,
    (read_unannounced,),
)


def each(*subjects):
    """(statement, function) pairs, named by the function."""
    return [
        pytest.param(statements[function.__name__], function, id=function.__name__)
        for statements, functions in zip(subjects[::2], subjects[1::2], strict=True)
        for function in functions
    ]


# --- plans ----------------------------------------------------------------------------


@pytest.mark.parametrize("stock_of", STOCKS)
@pytest.mark.parametrize(
    ("statement", "function"),
    each(*BY_THE_DISPATCHER, *BY_INGEST, *BY_THE_SCHEDULER),
)
async def test_everything_is_found_by_key(stocked, stock_of, statement, function):
    """Workers' claims and settlements are the dispatcher's statements, too."""
    plan = await plan_on(stocked, stock_of, statement, function)

    assert read_whole(plan) == set()


@pytest.mark.parametrize(
    ("statement", "function"),
    each(telling.SQL, (read_untold,), announcing.SQL, (read_unannounced,)),
)
async def test_the_journal_is_read_in_order_and_never_sorted(
    stocked, statement, function
):
    """What was announced long ago must cost nothing; what was read may be sorted."""
    plan = await plan_on(stocked, "full", statement, function)
    of_journal = [
        node
        for node in plan
        if "Append" in kinds_of(node) and node["Node Type"] == "Limit"
    ]
    assert of_journal
    assert not any("Sort" in kinds_of(node) for node in of_journal)


@pytest.mark.parametrize(
    "service",
    [
        services.dispatcher.service,
        services.ingest.service,
        services.scheduler.service,
    ],
)
def test_a_service_plans_as_it_is_tested(service):
    planners = [
        ast.unparse(keyword.value)
        for node in ast.walk(ast.parse(Path(service.__file__).read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"open_pool", "open_one"}
        for keyword in node.keywords
        if keyword.arg == "planner"
    ]

    assert planners == ["BY_KEY"]
