"""Letting go who waited finds its rows by key, too: the statements of the functions.

Whoever ends a job runs them (`release_children`), so they are as hot as it is.  And the
statements that only workflows need.
"""

import re

import pytest

from libs.common.db import BY_KEY
from libs.common.ids import new_id
from libs.common.store import interventions, workflows
from tests.contract.test_plans import STOCKS, each, plan_on, stocked
from tests.support.plans import connected, plan_of, read_whole

__all__ = ["stocked"]

#: Tables that the functions ask.
TABLES = (
    "dead",
    "dependencies",
    "finished",
    "lanes",
    "rechecks",
    "waiting",
    "workflow_jobs",
    "workflows",
)
#: The values in their statements, by the names that they have there.
NAMES = {
    "done.left_over": "$1",
    "done.sweeping": "$1",
    **dict.fromkeys(
        (
            "children",
            "ended",
            "everybody",
            "family",
            "flows",
            "fresh",
            "ids",
            "left_over",
            "mine",
            "noted",
            "sweeping",
        ),
        "$1",
    ),
    **dict.fromkeys(("child", "workflow"), "$2"),
    "lane_ids": "$3",
    **dict.fromkeys(("everything", "patient"), "$4"),
    **dict.fromkeys(("unblocked", "cancelled", "joined", "over"), "0"),
}
#: What stands behind this is no value.
NO_VALUE = r"(?<![.\w'])(?<!AS )(?<!FROM )(?<!JOIN )"
PREPARE = "PREPARE hot (uuid[], uuid, integer[], boolean) AS "
EXECUTE = f"hot ('{{{new_id()}}}', '{new_id()}', '{{1}}', true)"
#: How many statements that ask tables each of the functions has.
FUNCTIONS = {
    "has_begun_jobs": 1,
    "has_failed_jobs": 1,
    "has_open_jobs": 1,
    "hold_waiting": 2,
    "hold_workflows": 2,
    "hopes_of": 1,
    "idle_jobs": 1,
    "let_go": 3,
    "look_again": 3,
    "move_waiting": 1,
    "move_workflows": 1,
    "progress_of": 1,
    "release_children": 2,
    "still_waits": 1,
    "told_of_release": 1,
}


def statements_of(source):
    """Return what a function asks of tables, as statements that can be prepared."""
    source = re.sub(r"--.*", "", source)
    for piece in re.split(r";|\bTHEN\n|\bLOOP\b|\bBEGIN\b", source):
        if not re.search(rf"\b(FROM|INTO)\s+({'|'.join(TABLES)})\b", piece):
            continue
        said = re.sub(r"^\s*RETURN QUERY\b", "", piece)
        said = re.sub(r"^\s*(RETURN|\w+ :=)\s", "SELECT ", said)
        said = said.replace(" INTO done", "")
        for name, parameter in NAMES.items():
            is_value = rf"{NO_VALUE}{re.escape(name)}\b(?![.(]| AS\b)"
            said = re.sub(is_value, parameter, said)
        yield said.strip()


@pytest.mark.parametrize("stock_of", STOCKS)
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_the_functions_find_everything_by_key(stocked, stock_of, function):
    url, _ = stocked[stock_of]
    async with connected(url, BY_KEY) as conn:
        source = await conn.fetchval(
            "SELECT prosrc FROM pg_proc WHERE proname = $1", function
        )
        found = list(statements_of(source))
        assert len(found) == FUNCTIONS[function]
        for statement in found:
            await conn.execute(PREPARE + statement)
            assert read_whole(await plan_of(conn, EXECUTE)) == set(), statement
            await conn.execute("DEALLOCATE hot")


# --- what only workflows need ---------------------------------------------------------


async def sweep(conn, _):
    await workflows.sweep(conn, ids=[new_id()], actor=None)


async def restart(conn, _):
    await workflows.restart(conn, workflow_id=new_id(), actor="key")


async def stop(conn, line):
    await workflows.stop(conn, organization_id=line.organization_id, id_=new_id())


async def hold_worker(conn, _):
    await workflows.hold_worker(
        conn, workflow_id=new_id(), worker_id="worker", lease_id=None
    )


async def jobs_of(conn, _):
    await workflows.jobs_of(conn, workflow_id=new_id())


async def edges_of(conn, _):
    await workflows.edges_of(conn, workflow_id=new_id())


async def read_workflow(conn, line):
    await workflows.read_workflow(
        conn, organization_id=line.organization_id, id_=new_id()
    )


async def requeue(conn, line):
    await interventions.requeue(
        conn,
        organization_id=line.organization_id,
        job_ids=[new_id() for _ in range(100)],
        actor="key",
    )


async def cancel(conn, line):
    await interventions.cancel(
        conn, organization_id=line.organization_id, job_id=new_id(), actor="key"
    )


@pytest.mark.parametrize("stock_of", STOCKS)
@pytest.mark.parametrize(
    ("statement", "function"),
    each(
        workflows.SQL,
        (sweep, restart, stop, hold_worker, jobs_of, edges_of, read_workflow),
        interventions.SQL,
        (requeue, cancel),
    ),
)
async def test_what_is_done_to_workflows_finds_everything_by_key(
    stocked, stock_of, statement, function
):
    plan = await plan_on(stocked, stock_of, statement, function)

    assert read_whole(plan) == set()
