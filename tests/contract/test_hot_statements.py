"""Every statement finds its rows by key, or stands below with why it need not.

Each is planned as a service plans it: for any arguments, with the planner settings of
what is hot.  So a new statement that reads a large table from end to end fails here
until it has an index, or somebody says why it may.
"""

import importlib
import json

import pytest

from libs.common.db import BY_KEY
from tests.contract.test_plans import stocked
from tests.contract.test_sql import SUBJECTS
from tests.support.plans import (
    connected,
    nodes,
    read_whole,
    sorted_as_text,
    sorted_whole,
)

__all__ = ["stocked"]

#: A statement with its $1 as they are cannot come from outside.
PLAN_OF = """
CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS json LANGUAGE plpgsql AS $plan$
DECLARE found json;
BEGIN
    EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || statement INTO found;
    RETURN found;
END
$plan$
"""
#: Why a statement may read more: it is not hot, or it is planned elsewhere.
_ASKED = "somebody asks for it, on connections that plan for what is asked"
_SELDOM = "now and then, and everything is looked at"
_TESTED = "planned with its own tables full: "
COLD: dict[str, str] = {
    "checkup.read_house": _ASKED,
    "closures.give_back": _ASKED,
    "dependencies.children_of": _ASKED,
    "dependencies.parents_of": _ASKED,
    "endpoints.list_endpoints": _ASKED,
    "endpoints.read_subscriptions": _TESTED + "test_messages_in",
    "erasures.erase_messages": _SELDOM,
    "erasures.erase_rest": _SELDOM,
    "explanations.open_parents": _ASKED,
    "gauges.count_endpoints": _SELDOM,
    "gauges.count_places": _SELDOM,
    "invariants.forgotten": _SELDOM,
    "invariants.misplaced": _SELDOM,
    "invariants.out_of_turn": _SELDOM,
    "invariants.unjournaled": _SELDOM,
    "jobs.read_job": _ASKED,
    "messages.find_by_keys": _TESTED + "test_messages_in",
    "messages.list_messages_of": _ASKED,
    "missed.forget_stretches": _SELDOM,
    "missed.read_page": _TESTED + "test_missed",
    "outgoing.retry_delivery": _ASKED,
    "resealing.find_old": _SELDOM,
    "resealing.reseal": _SELDOM,
    "resends.read_again": _ASKED,
    "tallies.of_everything": _ASKED,
}
#: Why a statement may sort rows of a large table.
_OF_ONE = "those of one job, workflow, endpoint, queue, line or worker"
SORTED: dict[str, str] = {
    "attempts.list_attempts": _OF_ONE,
    "attempts.list_failed_at_endpoint": _ASKED,
    "attempts.list_of_endpoint": _ASKED,
    "closures.lanes_of_queue": _OF_ONE,
    "closures.retire": _OF_ONE,
    "endpoint_secrets.list_secrets": _OF_ONE,
    "gauges.count_transitions": _SELDOM,
    "jobs.list_sorted_jobs": _ASKED,
    "journal.history": _OF_ONE,
    "lanes.ready_of_queue": _OF_ONE,
    "leases.grant_grace": "once, after Postgres was away",
    "leases.recover": "those of one deadline",
    "leases.release_work": _OF_ONE,
    "lines.read_turn": _OF_ONE,
    "messages.list_messages": _ASKED,
    "missed.read_of_job": _OF_ONE,
    "queues.list_queues": _ASKED,
    "receivers.read_receivers": _OF_ONE,
    "replays.next_failed": _OF_ONE,
    "resting.deleted_endpoints": _SELDOM,
    "tallies.series": _ASKED,
    "telling.note_outcomes": "as many as the batch has",
    "workflows.edges_of": _OF_ONE,
    "workflows.jobs_of": _OF_ONE,
}
#: Which of the large tables a statement is to read from end to end.
WHOLE = {"gauges.count_transitions": {"lanes"}}
STATEMENTS = {
    f"{subject}.{name}": text
    for subject in SUBJECTS
    for name, text in importlib.import_module(
        f"libs.common.store.{subject}"
    ).SQL.items()
    # This one has no plan.
    if (subject, name) != ("copies", "learn_sizes")
}


@pytest.fixture
async def full(stocked):
    url, _ = stocked["full"]
    async with connected(url, BY_KEY) as conn:
        if conn.get_server_version().major < 16:
            pytest.skip("EXPLAIN (GENERIC_PLAN) is of PostgreSQL 16")
        await conn.execute(PLAN_OF)
        yield conn


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - COLD.keys()))
async def test_a_hot_statement_reads_no_large_table_whole(full, name):
    explained = await full.fetchval("SELECT pg_temp.plan_of($1)", STATEMENTS[name])

    whole = read_whole(list(nodes(json.loads(explained)[0]["Plan"])))

    assert {table for _, table, _ in whole} <= WHOLE.get(name, set()), whole


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - COLD.keys()))
async def test_a_hot_statement_sorts_no_large_table(full, name):
    explained = await full.fetchval("SELECT pg_temp.plan_of($1)", STATEMENTS[name])
    found = set(sorted_whole(json.loads(explained)[0]["Plan"]))

    # Who is excused sorts one: an excuse that is not needed any more is none.
    assert bool(found) == (name in SORTED), found


@pytest.mark.parametrize("name", sorted(STATEMENTS))
async def test_transactions_are_sorted_by_number(full, name):
    explained = await full.fetchval("SELECT pg_temp.plan_of($1)", STATEMENTS[name])

    assert sorted_as_text(json.loads(explained)[0]["Plan"]) == []


def test_only_statements_that_are_there_are_excused():
    assert COLD.keys() | SORTED.keys() | WHOLE.keys() <= STATEMENTS.keys()
