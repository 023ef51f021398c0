"""What a schedule is to do at a moment, on a clock that is given."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.ticks import MISSED_MAX, Misfire, Overlap, due, overlap, rhythm_of

ID = UUID("0191d0a0-0000-7000-8000-000000000001")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(seconds=60)


def rhythm(expression="* * * * *", **changes):
    return rhythm_of(
        ID, expression=expression, timezone="UTC", created_at=NOON, **changes
    )


def at(now, *, misfire=None, expression="* * * * *", since=NOON, **changes):
    """What is due at *now*, when the first tick after *since* is the oldest."""
    mine = rhythm(expression, **changes)
    first = mine.after(since)
    assert first is not None
    return due(mine, first, misfire=misfire or Misfire(), now=now, grace=GRACE)


def minutes(moments):
    return [(moment - NOON) // MINUTE for moment in moments]


# --- bounds and jitter ----------------------------------------------------------------


def test_the_beginning_is_in_and_the_end_is_out():
    mine = rhythm("0 * * * *", start_at=NOON, end_at=NOON + timedelta(hours=2))

    first = mine.after(NOON - timedelta(days=9))
    second = mine.after(NOON)

    assert first is not None
    assert second is not None
    assert (first.tick, second.tick) == (NOON, NOON + timedelta(hours=1))
    assert mine.after(second.tick) is None


def test_an_interval_counts_from_its_start():
    mine = rhythm("@every 90s", start_at=NOON + timedelta(seconds=7))

    first = mine.after(NOON)

    assert first is not None
    assert first.tick == NOON + timedelta(seconds=7)


@given(st.uuids(), st.integers(1, 86_400), st.integers(0, 10_000))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_jitter_is_the_same_each_time_and_ends_before_the_next_tick(id_, jitter, n):
    mine = rhythm_of(
        id_,
        expression="*/10 * * * *",
        timezone="UTC",
        created_at=NOON,
        jitter_seconds=jitter,
    )

    found = mine.after(NOON + n * MINUTE)
    again = mine.after(NOON + n * MINUTE)

    assert found == again
    assert found is not None
    following = mine.after(found.tick)
    assert following is not None
    assert found.tick <= found.at < following.tick
    assert found.at - found.tick < timedelta(seconds=jitter)


def test_jitter_spreads_schedules():
    delays = set()
    for n in range(100):
        mine = rhythm_of(
            UUID(int=n),
            expression="0 * * * *",
            timezone="UTC",
            created_at=NOON,
            jitter_seconds=100,
        )
        found = mine.after(NOON)
        assert found is not None
        delays.add((found.at - found.tick).seconds // 10)

    assert delays == set(range(10))


# --- misfires -------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["skip", "coalesce", "catch_up"])
def test_what_is_in_time_fires(policy):
    found = at(NOON + MINUTE + timedelta(seconds=1), misfire=Misfire(policy=policy))

    assert (minutes(found.ticks), found.missed) == ([1], 0)
    assert minutes([found.following.tick]) == [2]


@pytest.mark.parametrize(
    ("misfire", "ticks", "missed"),
    [
        (Misfire(policy="coalesce"), [10], 9),
        (Misfire(policy="skip"), [10], 9),
        (Misfire(policy="catch_up", most=3), [8, 9, 10], 7),
        (Misfire(policy="catch_up", most=100), list(range(1, 11)), 0),
        (
            Misfire(policy="catch_up", window=timedelta(minutes=2)),
            [9, 10],
            8,
        ),
    ],
)
def test_what_was_missed_is_made_up_for_by_policy(misfire, ticks, missed):
    found = at(NOON + 10 * MINUTE + timedelta(seconds=30), misfire=misfire)

    assert (minutes(found.ticks), found.missed) == (ticks, missed)
    assert minutes([found.following.tick]) == [11]


def test_skip_leaves_out_what_is_too_late():
    found = at(
        NOON + timedelta(hours=1, minutes=2),
        misfire=Misfire(policy="skip"),
        expression="0 * * * *",
    )

    assert (found.ticks, found.missed) == ((), 1)
    assert minutes([found.following.tick]) == [120]


@pytest.mark.parametrize("expression", ["* * * * * *", "*/5 * * * * MON", "@every 3s"])
def test_who_was_away_for_years_finds_the_latest_at_once(expression):
    now = NOON + timedelta(days=900)

    for misfire, many in (
        (Misfire(policy="coalesce"), 1),
        (Misfire(policy="catch_up", most=50, window=timedelta(days=31)), 50),
    ):
        found = at(now, misfire=misfire, expression=expression)
        mine = rhythm(expression)
        assert len(found.ticks) == many
        assert found.missed == MISSED_MAX
        assert found.following == mine.after(found.ticks[-1])
        assert found.following.at > now
        for tick, following in zip(found.ticks, found.ticks[1:], strict=False):
            assert mine.after(tick).tick == following


def test_nothing_follows_what_has_ended():
    found = at(NOON + 5 * MINUTE, end_at=NOON + 3 * MINUTE)

    assert (minutes(found.ticks), found.missed, found.following) == ([2], 1, None)


# --- overlaps -------------------------------------------------------------------------

A, B, C = (NOON + n * MINUTE for n in range(3))


@pytest.mark.parametrize(
    ("policy", "ticks", "busy", "queued", "wanted"),
    [
        ("allow", [A, B], True, None, Overlap((A, B))),
        ("skip", [A], False, None, Overlap((A,))),
        ("skip", [A], True, None, Overlap((), (A,))),
        ("skip", [A, B], False, None, Overlap((A,), (B,))),
        ("queue_one", [A], False, None, Overlap((A,))),
        ("queue_one", [A], True, None, Overlap((), (), A)),
        ("queue_one", [B], True, A, Overlap((), (B,), A)),
        # It is over, but who waited has not had its turn.
        ("queue_one", [B], False, A, Overlap((), (B,), A)),
        ("queue_one", [A, B, C], False, None, Overlap((A,), (C,), B)),
        ("cancel_previous", [A], False, None, Overlap((A,))),
        ("cancel_previous", [A], True, None, Overlap((A,), cancels=True)),
        ("cancel_previous", [A, B], True, None, Overlap((B,), (A,), cancels=True)),
        ("cancel_previous", [], True, None, Overlap(())),
        ("allow", [B], True, A, Overlap((B,), (), A)),
    ],
)
def test_an_earlier_run_that_is_not_over_matters_by_policy(
    policy, ticks, busy, queued, wanted
):
    assert overlap(policy, ticks, busy=busy, queued=queued) == wanted
