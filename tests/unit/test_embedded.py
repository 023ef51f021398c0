"""Embedded servers keep what they have, and come back after whatever happened."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from urllib.parse import urlsplit

import asyncpg
import nats
import psutil
import pytest

from libs.cli.embedded import postgres_programs
from libs.cli.embedded.nats import NatsServer, run_nats
from libs.cli.embedded.postgres import PostgresServer, run_postgres
from libs.cli.embedded.postgres_programs import PostgresPrograms
from libs.cli.embedded.program import DidNotStart
from tests.support.waiting import until


async def execute(url, statement):
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(statement)
    finally:
        await conn.close()


async def test_a_killed_postgres_keeps_what_it_committed(own_postgres):
    url = own_postgres.url
    await execute(url, "CREATE TABLE kept AS SELECT 7 AS number")

    await own_postgres.kill()
    await own_postgres.start()

    assert own_postgres.url == url
    assert await execute(url, "SELECT number FROM kept") == 7


async def test_postgres_keeps_its_data_password_and_port(tmp_path):
    async with run_postgres(tmp_path) as server:
        url = server.url
        await execute(url, "CREATE TABLE kept AS SELECT 7 AS number")
    assert not server.running

    async with run_postgres(tmp_path) as server:
        assert server.url == url
        assert await execute(url, "SELECT number FROM kept") == 7


async def test_postgres_takes_another_port_when_its_own_is_taken(own_postgres):
    await own_postgres.stop()
    with socket.create_server(("127.0.0.1", own_postgres.port)):
        await own_postgres.start()

    assert await execute(own_postgres.url, "SELECT 1") == 1


async def test_postgres_starts_over_the_pid_file_of_another_life(own_postgres):
    """In a container the same numbers come again, for other processes."""
    await own_postgres.kill()
    pid_file = own_postgres.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    await own_postgres.start()

    assert await execute(own_postgres.url, "SELECT 1") == 1


async def test_postgres_begins_again_after_a_first_start_that_was_broken_off(tmp_path):
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18\n")
    (tmp_path / "password").write_text("of another life\n")

    async with run_postgres(tmp_path) as server:
        assert await execute(server.url, "SELECT current_database()") == "bellhop"


async def test_postgres_says_why_it_does_not_start(tmp_path):
    server = PostgresServer(tmp_path, settings={"max_connections": "many"})

    with pytest.raises(DidNotStart, match="max_connections"):
        await server.start()

    assert not server.running


async def test_postgres_lets_nobody_in_without_the_password(own_postgres):
    anybody = urlsplit(own_postgres.url)

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            user="bellhop", password="guess", host="127.0.0.1", port=anybody.port
        )
    assert not await execute(
        own_postgres.url,
        "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust'",
    )
    for secret in own_postgres.data, own_postgres.data.parent / "password":
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0, secret


async def test_postgres_is_durable(own_postgres):
    for setting in "fsync", "synchronous_commit", "full_page_writes":
        assert await execute(own_postgres.url, f"SHOW {setting}") == "on"


def test_programs_under_a_closed_directory_are_copied_to_an_open_one(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(postgres_programs, "_SHELTER", tmp_path)
    monkeypatch.setattr(postgres_programs, "_open_to_all", lambda _: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for _ in "first", "again":
        command = PostgresPrograms().command("postgres", "--version")

        assert str(command[-2]).startswith(str(tmp_path))
        said = subprocess.run(command[-2:], capture_output=True, check=True, text=True)
        assert said.stdout.startswith("postgres (PostgreSQL) 18")
    [shelter] = tmp_path.iterdir()
    assert shelter.name.startswith("pginstall18-")


async def test_a_killed_nats_keeps_its_streams_and_a_wiped_one_does_not(nats_server):
    url = nats_server.url

    assert await streams_after(url, create="KEPT") == ["KEPT"]
    await nats_server.kill()
    await nats_server.start()
    assert await streams_after(url) == ["KEPT"]
    await nats_server.kill()
    nats_server.wipe()
    await nats_server.start()
    assert await streams_after(url) == []


async def test_nats_keeps_its_port_and_password(tmp_path):
    async with run_nats(tmp_path) as server:
        url = server.url
    async with run_nats(tmp_path) as server:
        assert server.url == url


async def test_nats_takes_another_port_when_its_own_is_taken(tmp_path):
    server = NatsServer(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        server.port = squatter.getsockname()[1]
        await server.start()
    try:
        assert await streams_after(server.url) == []
    finally:
        await server.stop()


async def test_nats_lets_nobody_in_without_the_password(nats_server):
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    try:
        assert (await reader.readline()).startswith(b"INFO")
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_batch_of_large_bodies_fits_in_one_message(nats_server):
    client = await nats.connect(nats_server.url)
    try:
        assert client.max_payload == 8 * 1024 * 1024
    finally:
        await client.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.postgres import run_postgres

async def main():
    directory = Path(sys.argv[1])
    async with run_postgres(directory / "pg") as pg, run_nats(directory / "nats") as ns:
        print(pg.pid, ns.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_servers_do_not_outlive_a_parent_that_was_killed(tmp_path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    parent.kill()
    await parent.wait()

    def gone():
        return not any(lives(pid) for pid in pids)

    await until(gone)


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def streams_after(url, *, create=None):
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        if create:
            await jetstream.add_stream(name=create, subjects=[create.lower()])
        return [info.config.name for info in await jetstream.streams_info()]
    finally:
        await client.close()
