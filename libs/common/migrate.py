"""Bring a database to the schema of this code: numbered files, forward only.

Safe to run from several processes at once: an advisory lock lets one work while the
others wait.  Every file is one transaction and is recorded with its checksum.  A
database that is newer is left as it is, so that a release can go back; one of another
line, or whose files were altered, is refused.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Final

import asyncpg
import structlog

from libs.common.db import Conn
from libs.common.errors import BellhopError, Unavailable
from libs.common.store import partitions

log = structlog.get_logger()

_FILE: Final = re.compile(r"^(\d{4})_\w+\.sql$")
_LOCK: Final = 0x62656C6C  # "bell"
_CONNECT_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0
#: How long `migrate_patiently` waits for Postgres, or for who holds a table.
_PATIENCE_SECONDS: Final = 60.0

_RECORD: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number     integer     PRIMARY KEY,
    file       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaMismatch(BellhopError):  # noqa: N818
    """The database is not one that this code may touch."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    file: str
    text: str

    @property
    def sha256(self) -> str:
        """The checksum it is recorded with."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the migrations of this code, in order."""
    found = [
        Migration(int(match[1]), entry.name, entry.read_text("utf-8"))
        for entry in resources.files("libs.common.schema").iterdir()
        if (match := _FILE.match(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.number)


async def migrate(url: str) -> int:
    """Bring the database at *url* up to date; return how many files were applied.

    Also creates the partitions of the coming weeks.  A database that has all of this
    code's files and more is left to the release that made it so.  Raises
    `SchemaMismatch`, and `Unavailable` when Postgres does not let us in.
    """
    conn = await _connect(url)
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await conn.execute(_RECORD)
        difference = await compare(conn)
        _require_unaltered(difference)
        if difference.unknown and difference.missing:
            raise SchemaMismatch(
                f"the database has migrations unknown here: {difference.unknown}, "
                f"and lacks {', '.join(one.file for one in difference.missing)}"
            )
        if difference.unknown:
            log.info("schema.newer", unknown=difference.unknown)
            return 0
        for migration in difference.missing:
            await _apply(conn, migration)
        await partitions.create_ahead(
            conn, back=timedelta(weeks=1), ahead=timedelta(weeks=4)
        )
    finally:
        # Closing gives the lock back, whatever happened.
        await conn.close()
    return len(difference.missing)


async def migrate_patiently(url: str) -> int:
    """Do as `migrate`, and wait a minute for a Postgres that is not there yet.

    The same goes for somebody who holds a table that is to change.  Raises what
    `migrate` raises, and `asyncpg.LockNotAvailableError`.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            return await migrate(url)
        except (Unavailable, asyncpg.LockNotAvailableError) as error:
            if loop.time() > until:
                raise
            log.warning("migration.postponed", cause=str(error))
        await asyncio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a database has more or less than this code."""

    missing: list[Migration]
    altered: list[Migration]
    #: Numbers that this code does not know: the database is newer.
    unknown: list[int]


async def compare(conn: Conn) -> Difference:
    """Return how a database differs from the schema of this code; changes nothing."""
    recorded: dict[int, str] = {}
    if await conn.fetchval("SELECT to_regclass('migrations') IS NOT NULL"):
        rows = await conn.fetch("SELECT number, sha256 FROM migrations")
        recorded = {row["number"]: row["sha256"] for row in rows}
    known = {migration.number: migration for migration in migrations()}
    return Difference(
        missing=[m for n, m in known.items() if n not in recorded],
        altered=[m for n, m in known.items() if recorded.get(n, m.sha256) != m.sha256],
        unknown=sorted(recorded.keys() - known.keys()),
    )


async def until_migrated(url: str) -> None:
    """Return once the database at *url* has every migration of this code.

    One that is newer will do: while a release goes out its pods and those of the one
    before stand beside one another.  A database that is away is waited for.  Raises
    `SchemaMismatch` when a migration is not what was applied.
    """
    while True:
        try:
            if await _is_migrated(url):
                return
            log.info("schema.awaited")
        except Unavailable as error:
            log.warning("schema.awaited", cause=str(error))
        await asyncio.sleep(_LOOK_SECONDS)


async def _is_migrated(url: str) -> bool:
    conn = await _connect(url)
    try:
        difference = await compare(conn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"postgres: {str(error) or repr(error)}") from error
    finally:
        await conn.close(timeout=_CONNECT_SECONDS)
    _require_unaltered(difference)
    return not difference.missing


def _require_unaltered(difference: Difference) -> None:
    for migration in difference.altered:
        raise SchemaMismatch(f"{migration.file} is not what was applied")


async def _connect(url: str) -> Conn:
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"postgres: {str(error) or repr(error)}") from error


async def _apply(conn: Conn, migration: Migration) -> None:
    async with conn.transaction():
        # A table in use must not queue the whole house behind a migration.
        await conn.execute("SET LOCAL lock_timeout = '5s'")
        await conn.execute(migration.text)
        await conn.execute(
            "INSERT INTO migrations (number, file, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.file,
            migration.sha256,
        )
    log.info("migration.applied", file=migration.file)
