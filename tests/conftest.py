"""What tests stand on: a real Postgres, a real NATS, and a customer's server.

``BELLHOP_TEST_DATABASE_URL`` and ``BELLHOP_TEST_NATS_URL`` use others than those that
the test run starts by itself; what needs a server of its own is then skipped.
"""

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import nats
import pytest
import pytest_asyncio
import structlog

from libs.cli.embedded.nats import NatsServer, run_nats
from libs.cli.embedded.postgres import PostgresServer, run_postgres
from libs.common.log import FOR_PEOPLE
from tests.support import databases
from tests.support.databases import copy_of, template
from tests.support.endpoint import Endpoint, run_endpoint
from tests.support.fuzzing import Fuzzing

FOREIGN_DATABASE = os.environ.get("BELLHOP_TEST_DATABASE_URL")
FOREIGN_NATS = os.environ.get("BELLHOP_TEST_NATS_URL")

# As it comes, structlog draws every traceback with all that is in scope, which holds up
# the loop of the services under test for seconds.
structlog.configure(processors=[structlog.processors.add_log_level, *FOR_PEOPLE])

# What a shell runs in its background passes over Ctrl-C, and so would each program that
# a test starts and then ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let ``make fuzz``, ``model`` and ``test-upgrade`` do more than a day's tests."""
    group = parser.getgroup("bellhop")
    group.addoption("--seconds", type=float, default=0, help="how long to fuzz")
    group.addoption("--seed", type=int, default=1, help="where to begin to fuzz")
    group.addoption("--pictures", default="", help="where to keep pictures of pages")
    group.addoption("--from", default="", help="the commit to upgrade from")


@pytest.fixture
def fuzzing(request) -> Fuzzing:
    """How long to fuzz, and from which seed."""
    option = request.config.getoption
    return Fuzzing(option("--seconds"), option("--seed"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """The Postgres of this test run; for tests, `database_url` is the one to use."""
    if FOREIGN_DATABASE:
        yield FOREIGN_DATABASE
        return
    with tempfile.TemporaryDirectory(
        prefix="bellhop-tests-", dir=databases.quick_directory()
    ) as directory:
        async with run_postgres(Path(directory), settings=databases.SMALL) as server:
            yield server.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(postgres_url) -> AsyncIterator[str]:
    """The name of a database with the whole schema and no rows, to be copied."""
    async with template(postgres_url) as name:
        yield name


@pytest.fixture
async def database_url(postgres_url, migrated_template) -> AsyncIterator[str]:
    """A database of the test's own, migrated and empty."""
    async with copy_of(migrated_template, server=postgres_url) as url:
        yield url


@pytest.fixture
async def conn(database_url) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def own_postgres(tmp_path) -> AsyncIterator[PostgresServer]:
    """A Postgres of the test's own, not migrated, to be stopped and killed."""
    async with run_postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
async def own_or_foreign_nats(tmp_path) -> AsyncIterator[NatsServer | str]:
    """A NATS without streams: one of the test's own, or the URL of another."""
    if FOREIGN_NATS:
        await _forget_streams(FOREIGN_NATS)
        yield FOREIGN_NATS
        return
    async with run_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def nats_url(own_or_foreign_nats) -> str:
    """Where a NATS without streams is."""
    server: NatsServer | str = own_or_foreign_nats
    return server if isinstance(server, str) else server.url


@pytest.fixture
def nats_server(own_or_foreign_nats) -> NatsServer:
    """The same as a process: ``kill()``, ``wipe()`` and ``start()`` it at will."""
    if not isinstance(own_or_foreign_nats, NatsServer):
        pytest.skip("needs a NATS of its own, and BELLHOP_TEST_NATS_URL gives another")
    return own_or_foreign_nats


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A customer's server."""
    async with run_endpoint() as server:
        yield server


async def _forget_streams(url: str) -> None:
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            if stream.config.name and stream.config.name.startswith("BELLHOP_"):
                await jetstream.delete_stream(stream.config.name)
    finally:
        await client.close()
