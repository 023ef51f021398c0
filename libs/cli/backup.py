"""``bellhop backup`` and ``bellhop restore``: the whole house in one file, and back.

The file is a dump of PostgreSQL's own (`pg_dump`, custom format); beside it stands
``FILE.json``, which says what must be in it.
"""

import asyncio
import importlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click

from libs.cli.commands import Command
from libs.cli.embedded.postgres_programs import INSTALLED, PostgresPrograms
from libs.cli.embedded.program import CLEAN_ENVIRONMENT
from libs.cli.output import Output
from libs.cli.private_files import write_private
from libs.cli.progress import progress
from libs.cli.settings import StackSettings, Unusable

#: What may have happened since the backup, in transactions: numbers that were given out
#: and are in no dump are not given out again.
_SINCE: Final = 1_000_000
#: Which servers understand the programs of which newer one.
_UNDERSTOOD: Final = {17: 18}
_PRIVATE: Final = 0o600
_MIB: Final = 2**20
_LOOK_SECONDS: Final = 0.2


@click.command(cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(out: Output, file: Path) -> None:
    """Write everything in DATABASE_URL into FILE, as it is at one moment.

    Nothing has to stop.  FILE must not exist; FILE.json says what is in it.
    """
    if file.exists():
        raise Unusable(f"{file}: is there already")
    if not file.parent.is_dir():
        raise Unusable(f"{file.parent}: is no directory")
    try:
        told = asyncio.run(_back_up(_database(), file))
    except OSError as error:
        raise Unusable(f"{file}: {error}") from error
    size, rows = file.stat().st_size, sum(told["rows"].values())
    out.result(
        {"file": str(file), "bytes": size, **told},
        f"{file}: {rows} rows in {size} bytes. Keep {file}.json with it.",
    )


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--since",
    type=click.IntRange(min=0),
    default=_SINCE,
    show_default=True,
    help="transactions that may have come after the backup",
)
@click.pass_obj
def restore(out: Output, file: Path, since: int) -> None:
    """Put the backup in FILE into the empty database in DATABASE_URL, and check it.

    Stop all services first; start them when this is done.
    """
    told = file.with_name(f"{file.name}.json")
    try:
        wanted = json.loads(told.read_text())
    except (OSError, ValueError) as error:
        raise Unusable(f"{told}: {error}") from None
    out.say(f"… bringing back {sum(wanted['rows'].values())} rows")
    done = asyncio.run(_restore(_database(), file, wanted, since))
    out.result(done, "Everything is there. Start the services, with an empty NATS.")


def _database() -> str:
    url = StackSettings.from_env().database_url
    if url is None:
        raise Unusable("DATABASE_URL: give the database")
    return url.get_secret_value()


async def _back_up(url: str, file: Path) -> dict[str, Any]:
    copies = importlib.import_module("libs.common.store.copies")
    migrate = importlib.import_module("libs.common.migrate")
    async with _connected(url) as conn, copies.still(conn) as held:
        difference = await migrate.compare(conn)
        if difference.missing or difference.altered or difference.unknown:
            raise Unusable("DATABASE_URL: is not at the schema of this release")
        command = await _program(
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            f"--snapshot={held['snapshot']}",
            server=conn.get_server_version().major,
        )
        with _unfinished(file) as (dump, finish):
            async with _passing(dump, "MiB written", total=None):
                await _run(command, url=url, stdout=dump)
            os.fsync(dump)
            rows = await copies.count_rows(conn)
            told = {"xid": int(held["xid"]), "rows": rows}
            # The list stands first: a dump without it is none that was finished.
            listed = file.with_name(f"{file.name}.json")
            write_private(listed, json.dumps(told, indent=1))
            finish()
    return told


@contextmanager
def _unfinished(file: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Give a private file, and what makes it *file*: otherwise it is deleted."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    dump = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    try:
        yield dump, partial(unfinished.rename, file)
    finally:
        os.close(dump)
        unfinished.unlink(missing_ok=True)


@asynccontextmanager
async def _passing(dump: int, text: str, *, total: int | None) -> AsyncIterator[None]:
    """Show how far a program came in *dump*, whose place it shares with us, in MiB."""

    async def look(done: Callable[[int], None]) -> None:
        seen = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = os.lseek(dump, 0, os.SEEK_CUR) // _MIB
            done(max(0, now - seen))
            seen = max(seen, now)

    with progress(text, total=total) as done:
        looking = asyncio.create_task(look(done))
        try:
            yield
        finally:
            looking.cancel()


async def _restore(
    url: str, file: Path, wanted: dict[str, Any], since: int
) -> dict[str, Any]:
    copies = importlib.import_module("libs.common.store.copies")
    invariants = importlib.import_module("libs.common.store.invariants")
    async with _connected(url) as conn:
        if found := await copies.count_rows(conn):
            raise Unusable(f"DATABASE_URL: is not empty, there is {min(found)}")
        command = await _program(
            "pg_restore",
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            server=conn.get_server_version().major,
        )
        with file.open("rb") as dump:
            total = os.fstat(dump.fileno()).st_size // _MIB
            async with _passing(dump.fileno(), "MiB brought back", total=total):
                await _run(command, url=url, stdin=dump.fileno())
        found = await copies.count_rows(conn)
        wrong = {
            name: (found.get(name), wanted["rows"].get(name))
            for name in found.keys() | wanted["rows"].keys()
            if found.get(name) != wanted["rows"].get(name)
        }
        if wrong:
            raise Unusable(f"{file}: rows found, and those that were there: {wrong}")
        await copies.learn_sizes(conn)
        if misplaced := await invariants.misplaced(conn, seconds=copies.LOOK_SECONDS):
            raise Unusable(f"{file}: {len(misplaced)} jobs are not in one place")
        passed = await copies.pass_transactions(conn, until=wanted["xid"] + since)
    return {"rows": found, "transactions": passed}


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    db = importlib.import_module("libs.common.db")
    async with (
        db.open_pool(url, service="backup", size=1) as pool,
        db.borrow(pool) as conn,
    ):
        yield conn


async def _run(
    command: list[str | Path],
    *,
    url: str,
    stdin: int | None = None,
    stdout: int | None = None,
) -> None:
    """Run one of PostgreSQL's programs on the database at *url*."""
    # A command line is read by everybody on the machine: no password there.
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    open_url = parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}").geturl()
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--dbname={open_url}",
        env={**CLEAN_ENVIRONMENT, "PGPASSWORD": unquote(parts.password or "")},
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.DEVNULL if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise Unusable(f"PostgreSQL: {said.decode(errors='replace').strip()}")


async def _program(name: str, *arguments: str, server: int) -> list[str | Path]:
    """Return a command line of the program that is as old as the *server*.

    Older ones refuse it, and newer ones say what it does not know, but for those of 18,
    which 17 understands.  It is that in PATH, or an embedded server's.  Raises
    `Unusable` when there is none.
    """
    found = shutil.which(name)
    if found is not None:
        process = await asyncio.create_subprocess_exec(
            found, "--version", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        if re.search(rf"\) {server}\b", said.decode()):
            return [found, *arguments]
    major = _UNDERSTOOD.get(server, server)
    if major not in INSTALLED:
        raise Unusable(
            f"{name}: none of PostgreSQL {server} is in PATH; install its client "
            f"programs (Debian: postgresql-client-{server})"
        )
    return PostgresPrograms(major).command(name, *arguments)
