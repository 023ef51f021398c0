"""A backup is taken under load and put back elsewhere: the house goes on from there.

What was accepted before is there, once; what was leased comes back; what was fired is
not fired again; and what happens afterwards is announced, though the other server
counts its transactions from the beginning.
"""

import asyncio
import json
import sys

import asyncpg
import pytest

from libs.cli.backup import _program
from libs.cli.embedded.postgres import run_postgres
from libs.cli.service_process import tree_environment
from libs.cli.settings import Unusable
from libs.common.db import borrow, open_pool
from libs.common.migrate import migrate
from tests.support import stock
from tests.support.house import all_completed, assert_invariants, open_api
from tests.support.processes import run_processes
from tests.support.waiting import until

BEFORE = 200
LEASED = 7
#: What the old server is ahead of a new one, as one that has worked for long.
AHEAD = 20_000


async def bellhop(*command, database_url, **environment):
    """Run a command; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "libs.cli", *command, "--json"),
        env={**tree_environment(), "DATABASE_URL": database_url, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def asked(url, query, *values):
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetch(query, *values)
    finally:
        await conn.close()


class Load:
    """Webhooks that are created without a pause, and some work that is leased."""

    def __init__(self, api, endpoint):
        self.api = api
        self.endpoint = endpoint
        self.accepted: list[str] = []

    async def make(self, **fields):
        made = await self.api.ask("POST", "/jobs/bulk", json=fields)
        return [one["job_id"] for one in made[1]["succeeded"]]

    async def produce(self):
        jobs = [{"payload": {"n": n}} for n in range(10)]
        target = {"url": self.endpoint.url}
        while True:
            self.accepted += await self.make(
                queue_name="mail", target=target, jobs=jobs
            )
            await asyncio.sleep(0.02)

    async def lease(self):
        """Create work, and let a worker take it that will never be heard of again."""
        jobs = [{"payload": {"n": n}} for n in range(LEASED)]
        made = await self.make(queue_name="work", jobs=jobs)
        assert len(await self.claim(seconds=5)) == LEASED
        return made

    async def claim(self, *, seconds):
        asked = {
            "queue_name": "work",
            "worker_id": "w",
            "limit": LEASED,
            "lease_duration_secs": seconds,
        }
        claimed = await self.api.ask("POST", "/jobs/claim", json=asked, expect=200)
        return claimed["jobs"]

    async def work_off(self, wanted):
        """Return when a worker has finished all of *wanted*."""
        done = set()

        async def worked_off():
            for job in await self.claim(seconds=30):
                held = {"worker_id": "w", "lease_id": job["lease_id"]}
                path = f"/jobs/{job['id']}/complete"
                await self.api.ask("POST", path, json=held, expect=200)
                done.add(job["id"])
            return done == set(wanted)

        await until(worked_off, at_most=60)


EACH_SECOND = {
    "name": "each second",
    "cron_expression": "* * * * * *",
    "queue_name": "ticks",
    "payload_template": {},
}


async def runs_of(url):
    """Return the ticks that were fired, each as often as it was."""
    rows = await asked(
        url, "SELECT schedule_id, tick FROM schedule_runs WHERE tick IS NOT NULL"
    )
    return sorted(tuple(row) for row in rows)


async def jobs_of_ticks(url):
    [row] = await asked(
        url, "SELECT count(*) AS jobs FROM jobs WHERE queue_name = 'ticks'"
    )
    return row["jobs"]


async def everything_is_announced(url):
    async def announced():
        [row] = await asked(
            url,
            "SELECT count(*) AS left FROM journal, announced "
            "WHERE (journal.xid, journal.seq) > (announced.xid, announced.seq)",
        )
        assert row["left"] < 20
        return True

    await until(announced, at_most=30)


async def backed_up(file, *, house, api, endpoint):
    """Take a backup under load; return what was accepted, and leased, before it."""
    load = Load(api, endpoint)
    await api.ask("POST", "/schedules", json=EACH_SECOND, expect=201)
    producing = asyncio.create_task(load.produce())
    try:
        await until(lambda: len(load.accepted) > BEFORE, at_most=30)
        leased = await load.lease()
        accepted = list(load.accepted)
        code, said = await bellhop("backup", str(file), database_url=house.database_url)
        assert code == 0, said
        # It went on meanwhile, and what is accepted now is not in the backup.
        later = len(load.accepted)
        assert later > len(accepted)
        await until(lambda: len(load.accepted) > later, at_most=10)
    finally:
        producing.cancel()
        await asyncio.gather(producing, return_exceptions=True)
    return accepted, leased


async def goes_on(url, accepted, leased, *, api, endpoint):
    """Return when all that was under way is over, and everything moves."""
    fired = len(await runs_of(url))
    await all_completed(url, accepted, at_most=60)
    load = Load(api, endpoint)
    await load.work_off(leased)
    await all_completed(url, [*leased, await api.create(endpoint.url)], at_most=30)
    await everything_is_announced(url)

    async def fires_on():
        return len(await runs_of(url)) > fired

    await until(fires_on, at_most=30)


@pytest.mark.timeout(300)
async def test_a_backup_under_load_goes_on_elsewhere(
    database_url, nats_url, tmp_path, tenant, endpoint, conn
):
    file = tmp_path / "bellhop.dump"
    await conn.execute("BEGIN; SELECT pg_current_xact_id(); COMMIT;" * AHEAD)
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    async with (
        run_processes(database_url, nats_url, logs=tmp_path / "before") as house,
        open_api(house, tenant) as api,
    ):
        accepted, leased = await backed_up(
            file, house=house, api=api, endpoint=endpoint
        )
    assert json.loads(file.with_name("bellhop.dump.json").read_text())["xid"] > AHEAD

    async with run_postgres(tmp_path / "elsewhere") as server:
        url = server.url
        code, said = await bellhop(
            *("restore", str(file), "--since", "50000"), database_url=url
        )
        assert code == 0, said
        code, said = await bellhop("restore", str(file), database_url=url)
        assert code != 0
        assert "is not empty" in said

        await assert_invariants(url)
        there = {str(row["id"]) for row in await asked(url, "SELECT id FROM jobs")}
        assert {*accepted, *leased} <= there
        fired, made = await runs_of(url), await jobs_of_ticks(url)
        assert fired
        async with (
            run_processes(url, nats_url, logs=tmp_path / "after") as house,
            open_api(house, tenant) as api,
        ):
            await goes_on(url, accepted, leased, api=api, endpoint=endpoint)
        again, jobs = await runs_of(url), await jobs_of_ticks(url)
        assert len(set(again)) == len(again)
        assert set(fired) <= set(again)
        assert jobs - made == len(again) - len(fired)
        await assert_invariants(url)


async def test_a_backup_is_not_written_over(tmp_path, database_url):
    file = tmp_path / "bellhop.dump"
    file.touch()

    code, said = await bellhop("backup", str(file), database_url=database_url)

    assert code != 0
    assert "is there already" in said


async def test_a_backup_that_fails_leaves_nothing_and_says_why(
    tmp_path, database_url, conn
):
    nowhere = tmp_path / "none" / "bellhop.dump"
    code, said = await bellhop("backup", str(nowhere), database_url=database_url)
    assert (code, said.count("\n")) == (1, 1)
    assert json.loads(said)["message"] == f"{nowhere.parent}: is no directory"

    version = conn.get_server_version().major
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'test "$1" = --version && echo "pg_dump (PostgreSQL) {version}.0" && exit\n'
        "echo half; echo the disk is full >&2; exit 1\n"
    )
    program.chmod(0o755)
    code, said = await bellhop(
        *("backup", str(tmp_path / "bellhop.dump")),
        database_url=database_url,
        PATH=f"{program.parent}:/usr/bin:/bin",
    )
    assert (code, json.loads(said)["message"]) == (1, "PostgreSQL: the disk is full")
    assert [one.name for one in tmp_path.iterdir()] == ["bin"]


async def test_whoever_waits_for_a_migration_is_told_in_json(database_url):
    code, said = await bellhop("migrate", "--wait", database_url=database_url)

    assert (code, json.loads(said)) == (0, {"applied": 0})


@pytest.mark.parametrize("newer", [16, 18])
async def test_a_backup_of_an_older_postgres_goes_where_it_came_from_and_on(
    tmp_path, newer
):
    file = tmp_path / "bellhop.dump"
    async with (
        run_postgres(tmp_path / "old", major=16) as old,
        run_postgres(tmp_path / "new", major=newer) as new,
    ):
        await migrate(old.url)
        async with (
            open_pool(old.url, service="test", size=1) as pool,
            borrow(pool) as conn,
        ):
            made = await stock.create(conn, await stock.open_line(conn), 3)
        code, said = await bellhop("backup", str(file), database_url=old.url)
        assert code == 0, said

        code, said = await bellhop(
            "restore", str(file), "--since=0", database_url=new.url
        )
        assert code == 0, said

        await assert_invariants(new.url)
        rows = await asked(new.url, "SELECT id FROM jobs ORDER BY id")
        assert [row["id"] for row in rows] == sorted(made)


async def test_without_programs_of_its_version_nothing_is_begun(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(Unusable, match="postgresql-client-15"):
        await _program("pg_dump", server=15)
