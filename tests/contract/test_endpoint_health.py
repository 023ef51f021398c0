"""What becomes of endpoints that fail: opened, throttled, disabled; and healed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from libs.common.ids import new_id
from libs.common.store import endpoint_health
from libs.common.store.endpoint_health import Outcomes, Verdict
from tests.support import stock

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class Patient:
    """An endpoint, and a clock of its own."""

    def __init__(self, conn, line):
        self.conn = conn
        self.line = line
        self.now = NOON

    async def attempts(self, went, *, throttle=None, after=SECOND):
        """Tell of a batch of attempts, ``+`` and ``-``; return what followed."""
        self.now += after
        outcomes = Outcomes(
            endpoint_id=self.line.endpoint_id,
            url_version=1,
            succeeded=went.count("+"),
            failed=went.count("-"),
            failed_last=len(went) - len(went.rstrip("-")),
            duration_ms=10.0 * len(went),
            throttle_seconds=throttle,
            error="HTTP 500" if "-" in went else None,
        )
        [noted] = await endpoint_health.note_outcomes(
            self.conn, outcomes=[outcomes], at=self.now
        )
        return noted

    async def health(self):
        row = await self.conn.fetchrow(
            "SELECT * FROM endpoint_health WHERE endpoint_id = $1",
            self.line.endpoint_id,
        )
        return dict(row)

    async def open_for(self):
        """For how long the breaker stays open; None when it is closed."""
        open_until = (await self.health())["open_until"]
        return None if open_until is None else open_until - self.now

    async def throttled_for(self):
        return await self.conn.fetchval(
            "SELECT greatest(throttled_until, $2::timestamptz) - $2::timestamptz"
            "  FROM endpoint_health WHERE endpoint_id = $1",
            self.line.endpoint_id,
            self.now,
        )

    async def notices(self):
        rows = await self.conn.fetch(
            "SELECT event, data, organization_id FROM notices ORDER BY xid, seq"
        )
        assert {row["organization_id"] for row in rows} <= {self.line.organization_id}
        return [(row["event"], json.loads(row["data"])) for row in rows]


@pytest.fixture
async def patient(conn):
    return Patient(conn, await stock.open_endpoint(conn))


# --- counting -------------------------------------------------------------------------


async def test_attempts_are_counted_by_the_minute(patient):
    for went in ("+-", "+", "---"):
        await patient.attempts(went)
    await patient.attempts("+", after=MINUTE)

    rows = await patient.conn.fetch("SELECT * FROM endpoint_minutes ORDER BY minute")
    assert [tuple(row)[1:] for row in rows] == [
        (NOON, 2, 4, 60.0),
        (NOON + MINUTE, 1, 0, 10.0),
    ]


async def test_what_went_last_is_known(patient):
    await patient.attempts("+")
    await patient.attempts("--")
    health = await patient.health()
    assert health["consecutive_failures"] == 2
    assert health["last_success_at"] == NOON + SECOND
    assert health["failing_since"] == health["last_failure_at"] == NOON + 2 * SECOND
    assert health["last_error"] == "HTTP 500"

    await patient.attempts("-")
    assert (await patient.health())["failing_since"] == NOON + 2 * SECOND
    await patient.attempts("-+")
    health = await patient.health()
    assert (health["consecutive_failures"], health["failing_since"]) == (0, None)
    await patient.attempts("+-")
    assert (await patient.health())["failing_since"] == patient.now


async def test_several_endpoints_are_told_of_at_once(conn):
    lines = [await stock.open_endpoint(conn) for _ in range(3)]
    gone = new_id()

    noted = await endpoint_health.note_outcomes(
        conn,
        outcomes=[
            Outcomes(endpoint_id=id_, url_version=1, failed=20, failed_last=20)
            for id_ in [lines[2].endpoint_id, gone, lines[0].endpoint_id]
            if id_ is not None
        ],
    )

    assert {each.endpoint_id: each.opened for each in noted} == {
        lines[0].endpoint_id: True,
        lines[2].endpoint_id: True,
    }


# --- the breaker ----------------------------------------------------------------------


async def test_the_breaker_opens_after_twenty_failures_in_a_row(patient):
    # Long enough ago for no rate to count.
    assert not (await patient.attempts("+" * 40)).opened
    for _ in range(19):
        noted = await patient.attempts("-")
        assert (noted.opened, await patient.open_for()) == (False, None)

    assert (await patient.attempts("-")).opened
    assert await patient.open_for() == 30 * SECOND
    [(event, data)] = await patient.notices()
    assert event == "endpoint.breaker_opened"
    assert data["endpoint_id"] == str(patient.line.endpoint_id)
    assert data["consecutive_failures"] == 20
    assert data["last_error"] == "HTTP 500"


@pytest.mark.parametrize(
    ("went", "opens"),
    [
        ("---------", False),
        ("----------", True),
        ("+++-------", True),
        ("++++------", False),
        ("-------+++", False),
    ],
)
async def test_the_breaker_opens_when_most_of_at_least_ten_fail(patient, went, opens):
    for one in went[:-1]:
        assert not (await patient.attempts(one)).opened

    assert (await patient.attempts(went[-1])).opened == opens


async def test_failures_of_long_ago_do_not_count(patient):
    await patient.attempts("-" * 9)
    assert not (await patient.attempts("-", after=6 * MINUTE)).opened
    assert not (await patient.attempts("-" * 8)).opened
    assert (await patient.attempts("-")).opened


async def test_a_trial_that_fails_doubles_the_time_up_to_ten_minutes(patient):
    await patient.attempts("-" * 20)
    for seconds in (60, 120, 240, 480, 600, 600):
        noted = await patient.attempts("-", after=await patient.open_for())
        assert not noted.opened
        assert await patient.open_for() == seconds * SECOND

    # Told once, however long it lasts.
    assert len(await patient.notices()) == 1


async def test_what_was_under_way_when_it_opened_doubles_nothing(patient):
    await patient.attempts("-" * 20)

    await patient.attempts("---", after=5 * SECOND)

    assert await patient.open_for() == 25 * SECOND
    assert (await patient.health())["consecutive_failures"] == 23


async def test_a_success_closes_the_breaker_and_all_is_as_before(patient):
    await patient.attempts("-" * 20)
    await patient.attempts("-", after=30 * SECOND)

    noted = await patient.attempts("+", after=60 * SECOND)
    assert (noted.closed, await patient.open_for()) == (True, None)
    # What failed before it closed is forgiven: it takes as many again.
    for count in (8, 8, 3):
        assert not (await patient.attempts("-" * count)).opened
    assert (await patient.attempts("-")).opened
    assert await patient.open_for() == 30 * SECOND
    assert [event for event, _ in await patient.notices()] == [
        "endpoint.breaker_opened",
        "endpoint.breaker_closed",
        "endpoint.breaker_opened",
    ]


async def test_a_success_among_what_was_under_way_closes_it_at_once(patient):
    await patient.attempts("-" * 20)

    assert (await patient.attempts("-+")).closed

    assert await patient.open_for() is None


# --- the throttle ---------------------------------------------------------------------


async def test_an_endpoint_that_asks_for_a_rest_gets_more_each_time(patient):
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        noted = await patient.attempts(
            "-", throttle=0.0, after=await patient.throttled_for()
        )
        assert noted.throttled
        assert await patient.throttled_for() == seconds * SECOND
        # What was under way at that time says nothing new.
        noted = await patient.attempts("--", throttle=0.0, after=timedelta())
        assert not noted.throttled
        assert await patient.throttled_for() == seconds * SECOND
        # The breaker is another matter.
        await patient.conn.execute("UPDATE endpoint_health SET open_until = NULL")

    await patient.attempts("+", after=60 * SECOND)
    await patient.attempts("-", throttle=0.0)
    assert await patient.throttled_for() == SECOND


async def test_who_says_for_how_long_is_left_alone_so_long(patient):
    await patient.attempts("-", throttle=120.0)
    assert await patient.throttled_for() == 120 * SECOND

    await patient.attempts("-", throttle=7.0)
    assert await patient.throttled_for() == 119 * SECOND
    await patient.attempts("-", throttle=300.0)
    assert await patient.throttled_for() == 300 * SECOND
    # It did not say that it has changed its mind.
    await patient.attempts("+")
    assert await patient.throttled_for() == 299 * SECOND


async def test_a_failure_that_asks_for_nothing_throttles_nobody(patient):
    await patient.attempts("--")

    assert await patient.throttled_for() == timedelta()


# --- patience -------------------------------------------------------------------------


async def test_after_five_days_of_failures_there_is_no_hope(patient):
    begun = patient.now + SECOND
    await patient.attempts("-")
    for _ in range(4):
        assert not (await patient.attempts("-", after=DAY)).hopeless

    noted = await patient.attempts("-", after=DAY)

    assert (noted.hopeless, noted.failing_since) == (True, begun)


async def test_one_success_and_the_days_begin_anew(patient):
    await patient.attempts("-")
    await patient.attempts("-+-", after=4 * DAY)
    assert not (await patient.attempts("-", after=4 * DAY)).hopeless
    assert (await patient.attempts("-", after=DAY)).hopeless


async def test_silence_is_no_failure(patient):
    """Who got nothing for a week had no chance to do better."""
    await patient.attempts("-")

    assert not (await patient.attempts("-", after=7 * DAY)).hopeless

    assert (await patient.health())["failing_since"] == patient.now


async def test_who_is_disabled_is_told_of_once(patient):
    conn, line = patient.conn, patient.line
    verdict = Verdict(
        endpoint_id=line.endpoint_id, url_version=1, reason="gone", since=NOON
    )

    [disabled] = await endpoint_health.disable(conn, verdicts=[verdict])

    assert disabled.organization_id == line.organization_id
    row = await conn.fetchrow(
        "SELECT enabled, disabled_reason, disabled_at IS NOT NULL, version"
        "  FROM endpoints"
    )
    assert tuple(row) == (False, "gone", True, 2)
    assert await conn.fetchval("SELECT endpoints_version FROM organizations") == 2
    [(event, data)] = await patient.notices()
    assert event == "endpoint.disabled"
    assert data == {
        "endpoint_id": str(line.endpoint_id),
        "url": f"{stock.ORIGIN}/endpoint",
        "reason": "gone",
        "since": NOON.isoformat(),
    }

    assert await endpoint_health.disable(conn, verdicts=[verdict]) == []
    assert len(await patient.notices()) == 1
    other = Verdict(endpoint_id=new_id(), url_version=1, reason="failing", since=NOON)
    assert await endpoint_health.disable(conn, verdicts=[other]) == []


# --- forgetting -----------------------------------------------------------------------


async def test_counts_are_kept_for_as_long_as_somebody_looks(patient):
    now = await patient.conn.fetchval("SELECT now()")
    for age in (3, 47, 49, 100):
        patient.now = now - timedelta(hours=age)
        await patient.attempts("+")

    for _ in range(3):
        await endpoint_health.forget_minutes(
            patient.conn, older_than=2 * DAY, at_most=1
        )

    assert await patient.conn.fetchval("SELECT count(*) FROM endpoint_minutes") == 2
