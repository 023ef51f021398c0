"""Databases for tests: each a copy of one migrated template."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from libs.common.migrate import migrate

#: What a test run writes is soon dropped.
SMALL: Final = {"max_wal_size": "512MB"}
_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 4 * 1024**3
#: Several test runs may share one server.
TEMPLATE = f"bellhop_template_{os.getpid()}"
_numbers = count(1)


def quick_directory() -> Path | None:
    """Return a file system in memory with room for a cluster; None if there is none.

    Each test's database is a thousand files, which a disk takes a second to make when
    others write too.
    """
    try:
        room = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if room > _ROOM_BYTES and os.access(_MEMORY, os.W_OK) else None


def url_of(database: str, *, server: str) -> str:
    """Return the URL of *database* on the server that *server* is a URL of."""
    return urlsplit(server)._replace(path=f"/{database}").geturl()


@asynccontextmanager
async def template(server: str) -> AsyncIterator[str]:
    """Make a migrated database to copy from, until the block ends; give its name."""
    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    try:
        await migrate(url_of(TEMPLATE, server=server))
        yield TEMPLATE
    finally:
        await _execute(server, f"DROP DATABASE {TEMPLATE} WITH (FORCE)")


@asynccontextmanager
async def copy_of(name: str, *, server: str) -> AsyncIterator[str]:
    """Make a copy of the database *name* until the block ends; give its URL."""
    copy = f"bellhop_test_{os.getpid()}_{next(_numbers)}"
    await _execute(server, f"CREATE DATABASE {copy} TEMPLATE {name} STRATEGY FILE_COPY")
    try:
        yield url_of(copy, server=server)
    finally:
        await _execute(server, f"DROP DATABASE {copy} WITH (FORCE)")


async def _execute(server: str, statement: str) -> None:
    conn = await asyncpg.connect(url_of("postgres", server=server))
    try:
        await conn.execute(statement)
    finally:
        await conn.close()
