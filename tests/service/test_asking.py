"""Commands that ask the API: what they send, and what they say when stopped."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import asyncpg
import pytest

from tests.service.test_dead_letters import die
from tests.support.commands import shell_beside
from tests.support.endpoint import DROP, Answer, run_endpoint
from tests.support.endpoints import create_endpoint
from tests.support.house import run_house
from tests.support.tenants import scoped

JSON = {"Content-Type": "application/json"}
#: A `bellhop dlq purge` that deletes so many at once.
PURGE_BY_TWO = f"""{sys.executable} -c '
import sys
from libs.cli.api import dead_letters
from libs.cli.__main__ import main
dead_letters._PURGE = 2
sys.exit(main())' dlq purge"""


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.fixture
def ask(tmp_path):
    """Run a script of commands that ask *url* with *key*."""
    shell = shell_beside(tmp_path / "none", tmp_path / "shell")

    async def run(script, url, key="sk_live_x", **environment):
        return await asyncio.to_thread(
            shell.run,
            script,
            timeout_seconds=100,
            BELLHOP_URL=url,
            BELLHOP_API_KEY=key,
            BELLHOP_ADMIN_KEY="the-admins",
            **environment,
        )

    return run


@pytest.fixture
def told(ask, api):
    """Run a script of commands that ask the house; the documents it printed."""

    async def run(script, *, key=api.tenant.api_key, code=0):
        said = await ask(script, api.base_url, key)
        assert said.returncode == code, said.stdout + said.stderr
        return [json.loads(line) for line in said.stdout.splitlines()]

    return run


def answered(data, status=200):
    return Answer(status, json.dumps(data).encode(), JSON)


@pytest.mark.parametrize("payload", ["[]", "0", "false", '""', "null", "{}"])
async def test_a_payload_is_what_was_given(ask, endpoint, payload):
    endpoint.otherwise = answered({"id": "x", "created": True})

    script = f"""
        bellhop jobs create mail '{payload}'
        bellhop schedules create name '* * * * *' mail '{payload}'
        bellhop jobs create mail
    """
    said = await ask(script, endpoint.url_of(""))
    assert said.returncode == 0, said.stderr

    job, schedule, empty = [json.loads(one.body) for one in endpoint.requests]
    assert job["payload"] == schedule["payload_template"] == json.loads(payload)
    assert empty["payload"] == {}


async def test_a_key_for_queues_names_them_beside_the_ids(api, told):
    first, second, other = await die(api, "HTTP 500", times=3)
    key = (await scoped(api, "mail")).tenant.api_key

    [done] = await told(f"bellhop dlq retry {first} --queue mail --json", key=key)
    assert done == {"retried": 1, "skipped": []}
    purge = f"bellhop dlq purge {second} --yes --json"
    await told(purge, key=key, code=1)
    assert await told(f"{purge} --queue mail", key=key) == [{"purged": 1}]
    assert await told(f"{purge} --queue mail", key=key, code=1) == [{"purged": 0}]

    letters = await api.ask("GET", "/jobs/dlq", expect=200)
    assert [letter["id"] for letter in letters] == [other]


@pytest.mark.parametrize("command", ["retry", "purge --yes"])
@pytest.mark.parametrize("aim", ["", "--all --queue mail", "x --all"])
async def test_it_is_said_which_dead_letters_are_meant(told, command, aim):
    assert await told(f"bellhop dlq {command} {aim}", code=1) == []


async def test_letters_that_somebody_holds_do_not_end_a_purge(api, told, database_url):
    ids = await die(api, "HTTP 500", times=5)
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute("BEGIN")
        await conn.execute("SELECT FROM dead WHERE job_id = $1 FOR UPDATE", ids[0])
        done = await told(f"{PURGE_BY_TWO} --queue mail --yes --json")
    finally:
        await conn.close()

    assert done == [{"purged": 4}]


async def test_what_dies_later_is_not_purged(ask, endpoint):
    endpoint.answers = [answered({"purged_count": n}) for n in (1000, 3, 0)]
    before = datetime.now(UTC)
    said = await ask("bellhop dlq purge --all --yes --json", endpoint.url_of(""))

    assert json.loads(said.stdout) == {"purged": 1003}
    bodies = [json.loads(one.body) for one in endpoint.requests]
    [moment] = {body["older_than"] for body in bodies}
    assert before < datetime.fromisoformat(moment) < datetime.now(UTC)


async def test_a_limit_is_taken_away(api, told):
    await told("bellhop queues configure mail --rate-limit 5 --max-retries 7 --json")
    [queue] = await told("bellhop queues configure mail --no-rate-limit --json")

    assert (queue["rate_limit"], queue["max_retries"]) == (None, 7)
    both = "bellhop queues configure mail --no-rate-limit --rate-limit 5"
    assert await told(both, code=1) == []


async def test_a_replay_is_listed_and_ended(api, told, endpoint):
    made = await create_endpoint(api, url=endpoint.url)
    replay = f"bellhop endpoints replay {made['id']} --since 2026-01-01T00:00:00Z"
    [started] = await told(f"{replay} --json")
    [listed] = await told(f"bellhop endpoints replays {made['id']} --json")
    assert (listed["id"], listed["state"]) == (started["replay_id"], "running")

    [ended] = await told(f"bellhop endpoints cancel-replay {listed['id']} --json")

    assert ended["state"] == "cancelled"


async def test_a_line_that_is_no_job_stops_behind_those_before_it(api, ask):
    script = """
        for n in $(seq 130); do echo '{"payload": {}}'; done > jobs
        echo '{"payload": ' >> jobs
        bellhop jobs create mail --file jobs --json
    """
    said = await ask(script, api.base_url, api.tenant.api_key)

    assert said.returncode == 1
    assert json.loads(said.stdout) == {
        "created": 130,
        "known": 0,
        "failed": [],
        "next_line": 131,
    }
    assert json.loads(said.stderr)["message"].startswith("line 131: ")


async def test_a_break_says_how_far_it_came(ask, endpoint):
    whole = {"succeeded": [{"created": True}] * 100, "failed": []}
    endpoint.answers = [answered(whole), DROP]
    script = """
        for n in $(seq 150); do echo '{"payload": {}}'; done > jobs
        bellhop jobs create mail --file jobs
    """
    said = await ask(script, endpoint.url_of(""))
    assert said.returncode == 1
    assert said.stdout.startswith("100 created, ")
    assert "stopped at line 101" in said.stdout
    assert said.stderr.count("\n") == 1

    ids = " ".join(map(str, range(150)))
    endpoint.answers = [answered({"retried_count": 99, "skipped_jobs": ["7"]}), DROP]
    said = await ask(f"bellhop dlq retry {ids} --json", endpoint.url_of(""))
    assert said.returncode == 1
    assert json.loads(said.stdout) == {"retried": 99, "skipped": ["7"], "left": 50}

    endpoint.answers = [answered({"purged_count": 1000}), DROP]
    said = await ask("bellhop dlq purge --all --yes --json", endpoint.url_of(""))
    assert said.returncode == 1
    assert json.loads(said.stdout) == {"purged": 1000}


@pytest.mark.parametrize(
    "command",
    ["jobs create mail '{}'", "orgs list", "events tail", "queues list"],
)
async def test_a_key_goes_to_no_other_address(ask, endpoint, command):
    async with run_endpoint() as elsewhere:
        endpoint.otherwise = lambda received: Answer(
            301, headers={"Location": elsewhere.url_of(received.path)}
        )
        said = await ask(f"bellhop {command}", endpoint.url_of(""))

    assert elsewhere.requests == []
    assert (said.returncode, said.stdout) == (1, "")
    place = elsewhere.url_of("")
    assert said.stderr == (
        f"bellhop: {endpoint.url_of('')} is at {place}: give --url {place}\n"
    )


async def test_a_time_to_come_again_is_waited_for(ask, endpoint):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    endpoint.answers = [
        Answer(429, headers={"Retry-After": soon}),
        Answer(429, headers={"Retry-After": "0"}),
        answered([]),
    ]
    began = time.monotonic()
    said = await ask("bellhop keys list", endpoint.url_of(""))

    assert said.returncode == 0, said.stderr
    assert len(endpoint.requests) == 3
    assert endpoint.requests[1].at - began > 3

    endpoint.answers = [Answer(429, headers={"Retry-After": "whenever"})]
    said = await ask("bellhop keys list", endpoint.url_of(""))
    assert (said.returncode, said.stderr) == (1, "bellhop: HTTP 429 (429)\n")


@pytest.mark.parametrize("body", [b"<html>", b"\xff"])
async def test_what_is_no_json_is_no_bellhop(ask, endpoint, body):
    endpoint.otherwise = Answer(200, body, JSON)
    said = await ask("bellhop keys list", endpoint.url_of(""))

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("bellhop: ")
    assert said.stderr.count("\n") == 1
    assert "does not answer as it should" in said.stderr
