"""What another reader of cron expressions says: the same, but for what is listed."""

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.cron import moments, read_timetable
from libs.common.zones import zone_of

#: Where it says something else when the clocks change.
DIFFERENT = [
    # Once a day is twice on the day on which it is shown twice.
    (
        "30 2 * * *",
        "2026-10-24T12:00",
        ["10-25 00:30", "10-26 01:30"],
        ["10-25 00:30", "10-25 01:30"],
    ),
    # What goes by the clock is made up for as well.
    (
        "*/30 2 * * *",
        "2026-03-28T12:00",
        ["03-30 00:00", "03-30 00:30"],
        ["03-29 01:00", "03-30 00:00"],
    ),
    (
        "0 */2 * * *",
        "2026-03-28T22:30",
        ["03-28 23:00", "03-29 02:00"],
        ["03-28 23:00", "03-29 01:00"],
    ),
]


def number(least, most):
    return st.integers(least, most).map(str)


def field(least, most, *names):
    # Of one that ends where it begins it thinks that it goes all the way round.
    two = st.lists(st.integers(least, most), min_size=2, max_size=2, unique=True)
    ends = two.map(sorted)
    span = ends.map(lambda both: f"{both[0]}-{both[1]}")
    steps = st.integers(1, most - least).map(lambda step: f"/{step}")
    one = (
        number(least, most) | span | st.tuples(span | st.just("*"), steps).map("".join)
    )
    if names:
        one |= st.sampled_from(names)
    return st.just("*") | one | st.lists(one, min_size=2, max_size=3).map(",".join)


expressions = st.tuples(
    field(0, 59),
    field(0, 23),
    # No month is without them: of days that never come it thinks differently.
    field(1, 28),
    field(1, 12, "JAN", "oct"),
    field(0, 6, "SUN", "fri"),
).map(" ".join)


def theirs(expression, start, count):
    reader = croniter(expression, start, implement_cron_bug=True)
    return [reader.get_next(datetime) for _ in range(count)]


@given(expressions, st.datetimes(datetime(2020, 1, 1), datetime(2030, 12, 31)))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_in_utc_it_says_the_same(expression, start):
    start = start.replace(tzinfo=UTC, microsecond=0)

    ours = read_timetable(expression, timezone="UTC", anchor=start)

    assert moments(ours, after=start, limit=3) == theirs(expression, start, 3)


@pytest.mark.parametrize(("expression", "since", "wanted", "said"), DIFFERENT)
def test_where_the_clocks_change_it_differs_in_these(expression, since, wanted, said):
    start = datetime.fromisoformat(since).replace(tzinfo=UTC)
    ours = read_timetable(expression, timezone="Europe/Berlin", anchor=start)
    there = start.astimezone(zone_of("Europe/Berlin"))

    found = moments(ours, after=start, limit=2)

    assert [f"{moment:%m-%d %H:%M}" for moment in found] == wanted
    assert [
        f"{moment.astimezone(UTC):%m-%d %H:%M}"
        for moment in theirs(expression, there, 2)
    ] == said
    assert found[0] - start < timedelta(days=3)
