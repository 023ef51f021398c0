"""Bellhop beside other queues: the verdicts, what an adapter does, who is skipped."""

import json
import re
import sys
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from bench.peers import comparison, environments
from bench.peers.adapter import carry_out
from bench.peers.comparison import Comparison
from bench.peers.crew import Workers
from bench.peers.environments import HERE, Environments, Skipped
from bench.peers.handler import Handler
from bench.peers.measuring import NAMES, install
from bench.peers.plans import STAMP, Plan, Result
from bench.peers.producing import Producer
from bench.peers.roster import PEERS
from bench.records import read_created
from bench.row import Row
from bench.rows import NAMES as OWN_NAMES
from tests.support.waiting import until

SECRET = "whsec_c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgLi4u"


def row(name="rest_create", **fields_):
    known = {"jobs": 10_000, "seconds": 5.0, "cpu_seconds": {}, "strangers": 0.0}
    return Row(name=name, **{**known, **fields_})


def beside(bellhop, peer, **more):
    return Comparison(
        name=bellhop.name, peer="Other", bellhop=bellhop, row=peer, **more
    )


def slow(p50_ms):
    return row("latency_idle", p50_ms=p50_ms, about_latency=True)


# --- verdicts ------------------------------------------------------------------------


def test_who_has_the_higher_rate_is_faster():
    ahead = beside(row(jobs=30_000), row())
    behind = beside(row(), row(jobs=10_001))

    assert (ahead.ratio, ahead.faster) == (3.0, True)
    assert (behind.ratio, behind.faster) == (1.0, False)


def test_who_has_the_shorter_latency_is_faster():
    ahead = beside(slow(2.0), slow(4.0))
    behind = beside(slow(4.0), slow(2.0))

    assert (ahead.ratio, ahead.faster) == (0.5, True)
    assert (behind.ratio, behind.faster) == (2.0, False)


def test_words_name_who_is_not_slower():
    words = comparison.in_words(
        [
            beside(row(jobs=30_000), row()),
            beside(row(jobs=30_000), None, skipped="not there"),
            beside(slow(4.0), slow(2.0)),
            beside(row("rest_bulk"), None, skipped="not there"),
        ]
    )

    assert words.splitlines() == [
        "rest_create: Bellhop is faster than each of 1.",
        "latency_idle: Bellhop is slower than Other.",
        "rest_bulk: no peer was measured.",
    ]


def test_the_table_says_why_a_peer_is_skipped():
    table = comparison.as_table([beside(row(), None, skipped="not there\nat all")])

    assert "| skipped: not there |" in table
    assert "faster" not in table.splitlines()[-1]


def test_programs_find_each_comparison(tmp_path):
    file = tmp_path / "peers.json"
    comparison.write(
        file,
        [
            beside(row(jobs=30_000), row(), version="1.0"),
            beside(slow(2.0), slow(4.0)),
            beside(row(), None, skipped="not there"),
        ],
    )

    rates, latencies, skipped = json.loads(file.read_text())
    assert (rates["peer"], rates["name"]) == ("Other", "rest_create")
    assert (rates["rate"], rates["bellhop"], rates["ratio"]) == (2000, 6000, 3.0)
    assert (latencies["p50_ms"], latencies["bellhop"]) == (4.0, 2.0)
    assert (latencies["figure"], latencies["faster"]) == ("p50_ms", True)
    assert (skipped["rate"], skipped["ratio"]) == (None, None)
    assert skipped["skipped"] == "not there"


def test_a_peer_stands_beside_rows_that_are_measured():
    assert set(NAMES) <= set(OWN_NAMES)


# --- what adapters do ----------------------------------------------------------------


class Shelf:
    """A peer of the test's own: it keeps its jobs in a list."""

    distribution = "asyncpg"

    def __init__(self):
        self.jobs = []
        self.is_set_up = False

    async def set_up(self, _):
        self.is_set_up = True

    @asynccontextmanager
    async def open_producer(self, _):
        async def enqueue(payload):
            self.jobs.append(payload)
            return len(self.jobs)

        async def enqueue_many(payloads):
            self.jobs += payloads

        yield Producer(enqueue, enqueue_many)

    async def work(self, _, handle):
        for number, payload in enumerate(self.jobs, 1):
            await handle(number, payload)


def plan(do, **more):
    return Plan(do=do, url="nowhere", payloads=[{"a": 1}, {"a": 2}], **more)


async def test_a_set_up_says_which_version_it_is():
    shelf = Shelf()

    result = await carry_out(shelf, plan("setup"))

    assert shelf.is_set_up
    assert re.fullmatch(r"[\d.]+", result.version)


async def test_jobs_are_created_one_a_call_and_noted(tmp_path):
    shelf, records = Shelf(), tmp_path / "created.records"

    result = await carry_out(
        shelf, plan("enqueue", callers=4, jobs=10, records=str(records))
    )

    created = read_created(records)
    assert result.jobs == len(shelf.jobs) == len(created) == 10
    assert {int.from_bytes(one.job_id) for one in created} == set(range(1, 11))
    assert all(one.sent <= one.accepted for one in created)


async def test_jobs_are_created_many_a_call_and_no_more_than_asked():
    shelf = Shelf()

    result = await carry_out(shelf, plan("bulk", callers=2, batch=4, jobs=10))

    assert result.jobs == len(shelf.jobs) == 10


async def test_who_keeps_a_pace_calls_that_often_and_stamps():
    shelf = Shelf()

    result = await carry_out(
        shelf, plan("enqueue", rate=100.0, seconds=0.1, stamped=True)
    )

    assert result.jobs == 10
    assert all(job[STAMP] > 0 for job in shelf.jobs)


async def test_a_webhook_is_signed_as_ours_are(endpoint, tmp_path):
    tally = tmp_path / "worker.tally"
    shelf = Shelf()
    shelf.jobs = [{"a": 1}]

    with pytest.raises(RuntimeError, match="ended by itself"):
        await carry_out(
            shelf,
            plan(
                "work",
                handler="webhook",
                sink=endpoint.url,
                secret=SECRET,
                tally=str(tally),
            ),
        )

    [request] = endpoint.requests
    request.verify(SECRET)
    assert request.body == b'{"a":1}'
    assert request.id == "00000000-0000-0000-0000-000000000001"


async def test_a_refused_webhook_is_a_job_that_failed(endpoint, tmp_path):
    endpoint.otherwise = 500
    asked = plan(
        "work",
        handler="webhook",
        sink=endpoint.url,
        secret=SECRET,
        tally=str(tmp_path / "worker.tally"),
    )

    async with Handler(asked) as handler:
        with pytest.raises(RuntimeError, match="500"):
            await handler.handle(1, {"a": 1})


async def test_what_was_handled_is_tallied(tmp_path):
    tally = tmp_path / "worker.tally"
    workers = Workers({}, [tally, tmp_path / "not yet.tally"])

    async with Handler(plan("work", handler="clock", tally=str(tally))) as handler:
        for number in range(3):
            await handler.handle(number, {STAMP: 0.0})
        await workers.until_handled(3, at_most=30.0)

    assert workers.handled == 3
    assert workers.first > 0
    await until(lambda: len(Workers({}, [tally]).waits()) == 3)


# --- installing ----------------------------------------------------------------------


def test_a_peer_that_cannot_be_installed_is_skipped(tmp_path):
    in_the_way = tmp_path / "environments"
    in_the_way.write_text("no folder")
    [peer] = [one for one in PEERS if one.name == "PgQueuer"]
    told: list[str] = []

    [found] = install([peer], Environments(in_the_way), told.append)

    assert "environments" in found.skipped
    assert found.command == ()
    assert told == [f"PgQueuer is skipped: {found.skipped}"]


def test_what_an_installer_said_last_is_why():
    says = "import sys; print('trying', file=sys.stderr); sys.exit('nothing fits')"

    with pytest.raises(Skipped, match="Awa cannot be installed: nothing fits"):
        environments._install([sys.executable, "-c", says], what="Awa")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_has_its_adapter_and_its_pins(peer):
    if peer.language == "python":
        assert (HERE / f"{peer.adapter}.py").exists()
        assert (HERE / "pins" / f"{peer.adapter}.txt").exists()
    else:
        assert (HERE / "node" / f"{peer.adapter}.mjs").exists()


@pytest.mark.parametrize("file", sorted((HERE / "pins").glob("*.txt")), ids=str)
def test_every_pin_has_a_hash(file: Path):
    pins = re.findall(r"^\S+==\S+(.*(?:\n +--hash.*)*)", file.read_text(), re.MULTILINE)

    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_lock_says_nothing_of_where_packages_come_from():
    lock = json.loads((HERE / "node/package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}

    assert packages
    assert all("resolved" not in one for one in packages.values())
    assert all("integrity" in one for one in packages.values())


def test_both_languages_have_the_same_plans_and_results():
    adapters = [file.read_text() for file in (HERE / "node").glob("*.mjs")]
    read = {name for text in adapters for name in re.findall(r"\bplan\.(\w+)", text)}
    result = (
        (HERE / "node/adapter.mjs").read_text().partition("return {\n    jobs: ")[2]
    )
    told = re.findall(r"^    (\w+)[:,]", result.partition("  };")[0], re.MULTILINE)

    assert read == {field.name for field in fields(Plan)}
    assert {"jobs", "version", *told} == {field.name for field in fields(Result)}
