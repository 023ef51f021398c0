"""What is looked at in Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from libs.cli.doctor.clocks import clock
from libs.cli.doctor.finding import Finding, fail, fine, warn
from libs.common.db import Conn, Row, borrow, open_pool
from libs.common.errors import Unavailable
from libs.common.migrate import Difference, compare
from libs.common.store import checkup

_OLDEST: Final = 150_000
_NEWEST: Final = 190_000
#: Transactions: the house has none that take longer than this.
_LONG_SECONDS: Final = 60.0
_TOO_LONG_SECONDS: Final = 900.0
#: Replication slots: this many transactions behind is a reader that has gone.
_BEHIND_TRANSACTIONS: Final = 1_000_000
_HOLDERS_MAX: Final = 5
_WEEKS: Final = 2
_UNTOLD_SECONDS: Final = 15.0
#: So many dead letters in an hour, and such a part of what ended, are worth a look.
_DIED_MIN: Final = 5
_DIED_PART: Final = 0.05


async def look_at_database(url: str) -> AsyncIterator[Finding]:
    """Give what there is to say of the database and the house on it."""
    try:
        async with open_pool(url, service="doctor", size=1) as pool:
            async with borrow(pool) as conn:
                server = await checkup.read_server(conn)
                here = datetime.now(UTC)
                schema = await compare(conn)
                holders = await _list_holders(conn)
            yield _version(server)
            yield _durability(server)
            yield clock("clock of Postgres", server["clock"], here)
            yield _schema(schema)
            # Before the schema is judged enough: a migration may hang behind one.
            for finding in _holders(holders):
                yield finding
            if schema.missing or schema.altered or schema.unknown:
                return
            async with borrow(pool) as conn:
                findings = [
                    _partitions(
                        await checkup.list_partitions_ahead(conn, weeks=_WEEKS)
                    ),
                    *_house(await checkup.read_house(conn)),
                    await _dead_letters(conn),
                ]
            for finding in findings:
                yield finding
    except Unavailable as error:
        yield fail(
            "Postgres",
            str(error),
            "start it, or give the right DATABASE_URL; until then creates get 503",
        )


def _version(server: Row) -> Finding:
    version = server["version"]
    if server["in_recovery"]:
        return fail(
            "Postgres",
            f"{version}, a standby that takes no writes",
            "let DATABASE_URL name the primary",
        )
    if not _OLDEST <= server["version_number"] < _NEWEST:
        return warn("Postgres", version, "use one of 15 to 18; others are not tested")
    return fine("Postgres", version)


def _durability(server: Row) -> Finding:
    bent = [
        f"{name} = {server[name]}"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if server[name] not in {"on", "remote_write", "remote_apply"}
    ]
    if bent:
        return fail(
            "durability",
            ", ".join(bent),
            "set it to on: a crash of the machine may lose what was accepted",
        )
    return fine("durability", "fsync, full_page_writes and synchronous_commit are on")


def _schema(schema: Difference) -> Finding:
    if schema.altered:
        return fail(
            "migrations",
            f"not what was applied: {', '.join(one.file for one in schema.altered)}",
            "use an unaltered release",
        )
    if schema.missing:
        return fail(
            "migrations",
            f"missing: {', '.join(one.file for one in schema.missing)}",
            "run `bellhop migrate`",
        )
    if schema.unknown:
        return warn(
            "migrations",
            f"the database is newer: {', '.join(map(str, schema.unknown))}",
            "bring every service to the release that made it, or a later one",
        )
    return fine("migrations", "at this version")


async def _list_holders(conn: Conn) -> list[Row]:
    return await checkup.list_holders(
        conn,
        limit=_HOLDERS_MAX,
        seconds=_LONG_SECONDS,
        transactions=_BEHIND_TRANSACTIONS,
    )


def _holders(rows: list[Row]) -> list[Finding]:
    """Judge who holds up vacuum, and with it the events (ARCHITECTURE, events)."""
    if not rows:
        return [fine("oldest transaction", "none is older than a minute")]
    found = []
    for row in rows:
        seconds = row["seconds"]
        age = "" if seconds is None else f" for {timedelta(seconds=round(seconds))}"
        text = f"{row['kind']} {row['name']} ({row['what']}){age}"
        advice = {
            "transaction": f"end it: SELECT pg_terminate_backend({row['name']}); "
            "events and migrations wait for it, and tables grow",
            "prepared transaction": f"COMMIT or ROLLBACK PREPARED '{row['name']}'",
            "replication slot": "drop it, or let its reader catch up: tables grow",
        }[row["kind"]]
        judge = warn if seconds is None or seconds < _TOO_LONG_SECONDS else fail
        found.append(judge("oldest transaction", text, advice))
    return found


def _partitions(rows: list[Row]) -> Finding:
    missing = [row["name"] for row in rows if row["missing"]]
    if missing:
        return fail(
            "partitions",
            f"some of the next {_WEEKS} weeks are missing: {', '.join(missing)}",
            "start a scheduler, or run `bellhop migrate`: both make them",
        )
    return fine("partitions", f"ready for {_WEEKS} weeks and more")


def _house(row: Row) -> list[Finding]:
    found = []
    if row["duties_until"] is None or row["duties_until"] < row["clock"]:
        found.append(
            fail(
                "duties",
                "nobody has them: no scheduler runs",
                "start a scheduler: due jobs, schedules and events wait for it",
            )
        )
    else:
        found.append(fine("duties", "a scheduler has them"))
    if row["overdue_leases"] or row["overdue_jobs"]:
        found.append(
            fail(
                "overdue",
                f"{row['overdue_leases']} leases and {row['overdue_jobs']} due jobs "
                "wait for more than 30 s",
                "start a dispatcher and a scheduler, and look at their logs",
            )
        )
    else:
        found.append(fine("overdue", "nothing"))
    untold = row["untold_seconds"]
    if untold is not None and untold > _UNTOLD_SECONDS:
        found.append(
            fail(
                "events",
                f"untold for {untold:.0f} s",
                "look at NATS, at the oldest transaction, and at the scheduler's log",
            )
        )
    else:
        found.append(fine("events", "all are told"))
    return found


async def _dead_letters(conn: Conn) -> Finding:
    rows = await checkup.count_endings(conn)
    died = sum(row["died"] for row in rows)
    ended = died + sum(row["completed"] for row in rows)
    if died >= _DIED_MIN and died >= ended * _DIED_PART:
        worst = ", ".join(
            f"{row['queue_name']} {row['died']}" for row in rows[:3] if row["died"]
        )
        return warn(
            "dead letters",
            f"{died} of {ended} jobs that ended in the last hour: {worst}",
            "`bellhop dlq list` says why; `bellhop dlq retry --queue QUEUE` tries "
            "them again",
        )
    return fine("dead letters", f"{died} in the last hour")
