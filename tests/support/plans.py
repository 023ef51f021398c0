"""How Postgres would run a statement: its plan, and what that reads from end to end."""

import json
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import asyncpg

#: What no hot statement may read from end to end; `jobs` stands for its partitions.
LARGE = {
    "attempts",
    # completion_webhooks
    "completion",
    "dead",
    "dependencies",
    # endpoint_health, endpoint_minutes, endpoint_secrets
    "endpoint",
    "endpoints",
    "expiries",
    "finished",
    "held",
    "idempotency",
    "jobs",
    "journal",
    "lanes",
    "leased",
    "leases",
    "line_checks",
    "lines",
    # message_keys
    "message",
    "messages",
    "ready",
    "rechecks",
    "scheduled",
    "waiting",
    # workflow_jobs
    "workflow",
    "workflows",
}
#: Indexes that are walked from their front, and not far: the next that is due, the
#: next lane, the next note, the next endpoint that was deleted.
WALKED = {
    "endpoints_deleted_idx",
    "held_at_rest_idx",
    "line_checks_pkey",
    "ready_pkey",
    "scheduled_pkey",
}


def literal(value):
    """Return *value* as EXECUTE takes it: text of unknown type, or NULL."""
    match value:
        case None:
            return "NULL"
        case list():
            inner = (
                "NULL"
                if item is None
                else f'"{text(item).replace(chr(34), chr(92) + chr(34))}"'
                for item in value
            )
            return quoted("{" + ",".join(inner) + "}")
        case _:
            return quoted(text(value))


def text(value):
    match value:
        case timedelta():
            return f"{value.total_seconds()} s"
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def quoted(string):
    return "'" + string.replace("'", "''") + "'"


async def prepare(conn, statement, function, line, *, beside=None):
    """Prepare *statement*; return how to execute it as *function* did, undone.

    What is undone leaves pages behind, and the planner counts them: a *beside* is
    where it is prepared instead, untouched.
    """
    ran = []
    async with undone(conn):
        with conn.query_logger(lambda query: ran.append((query.query, query.args))):
            await function(conn, line)
    [arguments] = [arguments for query, arguments in ran if query == statement]
    await (beside or conn).execute("PREPARE hot AS " + statement)
    return "hot" + (f"({', '.join(map(literal, arguments))})" if arguments else "")


async def blocks_of(conn, statement, function):
    """Return how many blocks *statement* visits as *function* runs it; it is undone."""
    ran = []
    async with undone(conn):
        with conn.query_logger(lambda query: ran.append((query.query, query.args))):
            await function()
    [arguments] = [arguments for query, arguments in ran if query == statement]
    async with undone(conn):
        explained = await conn.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, *arguments
        )
    plan = json.loads(explained)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@asynccontextmanager
async def undone(conn):
    transaction = conn.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def plan_of(conn, call):
    explained = await conn.fetchval("EXPLAIN (FORMAT JSON) EXECUTE " + call)
    return list(nodes(json.loads(explained)[0]["Plan"]))


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def kinds_of(plan):
    """The types of a node of a plan and of all below it; any append is ``Append``."""
    return {node["Node Type"].removeprefix("Merge ") for node in nodes(plan)}


def read_whole(plan):
    """The large tables, and their indexes, that *plan* reads from end to end."""
    return {
        (node["Node Type"], node["Relation Name"], node.get("Index Name"))
        for node in plan
        if LARGE & {node.get("Relation Name"), _whole(node.get("Relation Name", ""))}
        and node["Node Type"] in {"Seq Scan", "Index Scan", "Index Only Scan"}
        and "Index Cond" not in node
        and node.get("Index Name") not in WALKED
    }


def sorted_whole(node, *, bounded=True):
    """Yield the large tables whose rows a plan sorts, however many there are.

    What a LIMIT cuts off before, and what is looked up row by row, is bounded.
    """
    kind = node["Node Type"].removeprefix("Incremental ")
    bounded = kind == "Limit" or (bounded and kind != "Sort")
    relation = node.get("Relation Name", "")
    if not bounded and LARGE & {relation, _whole(relation)}:
        yield _whole(relation)
    for part in node.get("Plans", ()):
        apart = part["Parent Relationship"] in {"InitPlan", "SubPlan"} or (
            kind == "Nested Loop" and part["Parent Relationship"] == "Inner"
        )
        yield from sorted_whole(part, bounded=apart or bounded)


def sorted_as_text(plan):
    """The sort keys that are numbers of transactions, but sorted as text.

    ``SELECT xid::text AS xid ... ORDER BY xid`` sorts the text: 1000 before 999.
    """
    return [
        key
        for node in nodes(plan)
        for key in node.get("Sort Key", ())
        if "xid)::text" in key
    ]


def _whole(partition):
    return partition.split("_")[0]


@asynccontextmanager
async def connected(url, planner):
    """Connect as a service with these planner settings does."""
    conn = await asyncpg.connect(url, server_settings={"jit": "off", **planner})
    try:
        yield conn
    finally:
        await conn.close()
