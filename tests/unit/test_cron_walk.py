"""Cron against a walker that tries every minute, where the clocks change and elsewhere.

The seeds are fixed: it is the same every time.
"""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.cron import moments, read_timetable
from libs.common.cron_fields import InvalidCron
from tests.support.cron_walker import changes, walk

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Tehran",
    "Pacific/Apia",
)
CHANGES = [
    (zone, change)
    for zone in ZONES
    for change in changes(zone, first_year=2020, last_year=2030)
]
HOUR = timedelta(hours=1)


def number(least, most):
    return st.integers(least, most).map(str)


def span(least, most):
    ends = st.tuples(st.integers(least, most), st.integers(least, most)).map(sorted)
    return ends.map(lambda both: f"{both[0]}-{both[1]}")


def item(least, most, *, star=True):
    steps = st.integers(1, most - least + 1).map(lambda step: f"/{step}")
    plain = number(least, most) | span(least, most)
    if star:
        plain |= st.just("*")
    return plain | st.tuples(plain, steps).map("".join)


def field(least, most, *others):
    one = item(least, most)
    if others:
        one |= st.sampled_from(others)
    listed = st.lists(one, min_size=1, max_size=3).map(",".join)
    return st.just("*") | one | listed


minutes = field(0, 59) | number(0, 59)
# Around the hours in which clocks change, mostly.
hours = field(0, 23) | number(0, 4) | span(0, 4) | span(0, 4).map(lambda s: f"{s}/2")
days = st.just("*") | field(1, 31, "L", "L-1", "LW", "15W", "1W", "31W")
months = st.just("*") | field(1, 12, "MAR", "OCT-NOV", "jan,apr", "sep")
weekdays = st.just("*") | field(0, 6, "7", "SUN", "mon-fri", "6L", "SUN#1", "0#2", "7L")
expressions = st.tuples(minutes, hours, days, months, weekdays).map(" ".join)


def between(expression, zone, start, end):
    """The same as `walk`, by the code under test."""
    timetable = read_timetable(expression, timezone=zone, anchor=start)
    found, moment = [], start - timedelta(seconds=1)
    while (moment := timetable.after(moment)) is not None and moment < end:
        found.append(moment)
    return found


def sound(expression):
    """Whether there ever is such a day."""
    try:
        read_timetable(expression, timezone="UTC", anchor=datetime.now(UTC))
    except InvalidCron:
        return False
    return True


def test_there_are_changes_to_walk_over():
    seen = {zone: [c for where, c in CHANGES if where == zone] for zone in ZONES}

    assert {zone: len(found) for zone, found in seen.items()} == {
        "Europe/Berlin": 22,
        "America/New_York": 22,
        "Australia/Lord_Howe": 22,
        # Both of them stopped, in 2022 and in 2021.
        "Asia/Tehran": 6,
        "Pacific/Apia": 3,
    }


@given(expressions.filter(sound), st.sampled_from(CHANGES))
@settings(max_examples=700, derandomize=True, deadline=None)
def test_it_is_as_the_walker_has_it_where_clocks_change(expression, place):
    zone, change = place
    start, end = change - 14 * HOUR, change + 16 * HOUR

    assert between(expression, zone, start, end) == walk(expression, zone, start, end)


@given(
    expressions.filter(sound),
    st.sampled_from(ZONES),
    st.integers(0, 11 * 365 - 3),
)
@settings(max_examples=120, derandomize=True, deadline=None)
def test_it_is_as_the_walker_has_it_on_any_day(expression, zone, day):
    start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
    end = start + timedelta(days=2)

    assert between(expression, zone, start, end) == walk(expression, zone, start, end)


@given(
    expressions.filter(sound),
    st.sampled_from(CHANGES),
    st.sampled_from([-1, 0, 1, 3599, 3600]) | st.integers(-7200, 7200),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_who_asks_from_anywhere_is_told_the_same(expression, place, seconds):
    zone, change = place
    # The walker's changes are the hours in which the clocks change.
    moment = change + timedelta(seconds=seconds)
    everything = between(expression, zone, change - 14 * HOUR, change + 16 * HOUR)
    later = [fire for fire in everything if fire > moment]

    timetable = read_timetable(expression, timezone=zone, anchor=moment)

    assert moments(timetable, after=moment, limit=len(later)) == later


@pytest.mark.parametrize("zone", ZONES)
def test_a_whole_year_is_as_the_walker_has_it(zone):
    chance = random.Random(20)
    year = chance.choice([2020, 2021, 2022])
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    for expression in ("30 2 * * *", "*/45 1-3 * * MON-SAT"):
        assert between(expression, zone, start, end) == walk(
            expression, zone, start, end
        )
