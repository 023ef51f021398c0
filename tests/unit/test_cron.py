"""Cron: what expressions say, and what becomes of them when the clocks change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.cron import moments, read_timetable
from libs.common.cron_fields import InvalidCron
from libs.common.zones import EDITION, zone_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def fires(expression, zone, since, count):
    """The next *count* fires, as clocks in UTC and in the zone show them."""
    start = datetime.fromisoformat(since).replace(tzinfo=UTC)
    timetable = read_timetable(expression, timezone=zone, anchor=start)
    return [
        (
            f"{moment:%m-%d %H:%M}",
            f"{moment.astimezone(zone_of(zone)):%m-%d %H:%M}",
        )
        for moment in moments(timetable, after=start, limit=count)
    ]


def next_days(expression, count=4, since="2026-01-01"):
    """The dates (UTC) of the next fires."""
    start = datetime.fromisoformat(since).replace(tzinfo=UTC) - timedelta(seconds=1)
    timetable = read_timetable(expression, timezone="UTC", anchor=start)
    return [f"{m:%Y-%m-%d}" for m in moments(timetable, after=start, limit=count)]


@pytest.mark.parametrize(
    ("expression", "zone", "since", "wanted"),
    [
        # Berlin leaves out 02:00-02:59 on the 29th of March: at once, and once.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28 00:00",
            [
                ("03-28 01:30", "03-28 02:30"),
                ("03-29 01:00", "03-29 03:00"),
                ("03-30 00:30", "03-30 02:30"),
            ],
        ),
        # Two of them are one, and so is what is due at the end of the gap.
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2026-03-29 00:00",
            [("03-29 01:00", "03-29 03:00"), ("03-30 00:00", "03-30 02:00")],
        ),
        (
            "0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29 00:00",
            [("03-29 01:00", "03-29 03:00"), ("03-30 00:00", "03-30 02:00")],
        ),
        (
            "15 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29 00:00",
            [("03-29 01:00", "03-29 03:00"), ("03-29 01:15", "03-29 03:15")],
        ),
        # It shows 02:00-02:59 twice on the 25th of October: the first time.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24 12:00",
            [("10-25 00:30", "10-25 02:30"), ("10-26 01:30", "10-26 02:30")],
        ),
        # ... also for who asks in the middle of the second time.
        (
            "45 2 * * *",
            "Europe/Berlin",
            "2026-10-25 01:15",
            [("10-26 01:45", "10-26 02:45")],
        ),
        # By the clock: nothing is made up for, and twice is twice.
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-03-29 00:00",
            [("03-30 00:00", "03-30 02:00")],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24 12:00",
            [
                ("10-25 00:00", "10-25 02:00"),
                ("10-25 00:30", "10-25 02:30"),
                ("10-25 01:00", "10-25 02:00"),
                ("10-25 01:30", "10-25 02:30"),
            ],
        ),
        # Every hour is every hour.
        (
            "0 * * * *",
            "America/New_York",
            "2026-03-08 05:30",
            [
                ("03-08 06:00", "03-08 01:00"),
                ("03-08 07:00", "03-08 03:00"),
                ("03-08 08:00", "03-08 04:00"),
            ],
        ),
        (
            "0 * * * *",
            "America/New_York",
            "2026-11-01 04:30",
            [
                ("11-01 05:00", "11-01 01:00"),
                ("11-01 06:00", "11-01 01:00"),
                ("11-01 07:00", "11-01 02:00"),
            ],
        ),
        # Lord Howe moves its clocks by half an hour: 02:00-02:29 is left out ...
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02 20:00",
            [("10-03 15:30", "10-04 02:30"), ("10-04 15:15", "10-05 02:15")],
        ),
        (
            "45 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02 20:00",
            [("10-03 15:45", "10-04 02:45"), ("10-04 15:45", "10-05 02:45")],
        ),
        # ... and 01:30-01:59 is shown twice.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04 00:00",
            [("04-04 14:45", "04-05 01:45"), ("04-05 15:15", "04-06 01:45")],
        ),
        (
            "*/15 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04 14:20",
            [
                ("04-04 14:30", "04-05 01:30"),
                ("04-04 14:45", "04-05 01:45"),
                ("04-04 15:00", "04-05 01:30"),
                ("04-04 15:15", "04-05 01:45"),
                ("04-05 14:30", "04-06 01:00"),
            ],
        ),
        # Tehran changed at midnight, until it stopped: a day began at 01:00.
        (
            "0 0 * * *",
            "Asia/Tehran",
            "2022-03-20 21:00",
            [("03-21 20:30", "03-22 01:00"), ("03-22 19:30", "03-23 00:00")],
        ),
        (
            "30 0 22 3 *",
            "Asia/Tehran",
            "2023-01-01 00:00",
            [("03-21 21:00", "03-22 00:30")],
        ),
        # Samoa had no 30th of December 2011 at all.
        (
            "0 9 * * *",
            "Pacific/Apia",
            "2011-12-29 12:00",
            [
                ("12-29 19:00", "12-29 09:00"),
                ("12-30 10:00", "12-31 00:00"),
                ("12-30 19:00", "12-31 09:00"),
            ],
        ),
        # An offset has no changes.
        (
            "30 2 * * *",
            "+05:30",
            "2026-03-28 00:00",
            [("03-28 21:00", "03-29 02:30"), ("03-29 21:00", "03-30 02:30")],
        ),
    ],
)
def test_the_clocks_change(expression, zone, since, wanted):
    assert fires(expression, zone, since, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        ("0 0 L-2 * *", ["2026-01-29", "2026-02-26", "2026-03-29", "2026-04-28"]),
        ("0 0 LW * *", ["2026-01-30", "2026-02-27", "2026-03-31", "2026-04-30"]),
        ("0 0 1W * *", ["2026-01-01", "2026-02-02", "2026-03-02", "2026-04-01"]),
        ("0 0 31W * *", ["2026-01-30", "2026-03-31", "2026-05-29", "2026-07-31"]),
        ("0 0 * * FRIL", ["2026-01-30", "2026-02-27", "2026-03-27", "2026-04-24"]),
        ("0 0 * * 5#2", ["2026-01-09", "2026-02-13", "2026-03-13", "2026-04-10"]),
        ("0 0 * * MON#5", ["2026-03-30", "2026-06-29", "2026-08-31", "2026-11-30"]),
        ("0 0 * * mon#1,7L", ["2026-01-05", "2026-01-25", "2026-02-02", "2026-02-22"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29", "2040-02-29"]),
        # One of the two is enough, and with a star both are meant.
        ("0 0 13 * FRI", ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16"]),
        ("0 0 */13 * FRI", ["2026-02-27", "2026-03-27", "2026-05-01", "2026-08-14"]),
        ("0 0 1 JAN,jul *", ["2026-01-01", "2026-07-01", "2027-01-01", "2027-07-01"]),
        ("0 0 * * SAT-SUN", ["2026-01-03", "2026-01-04", "2026-01-10", "2026-01-11"]),
        ("0 0 * * 0", ["2026-01-04", "2026-01-11", "2026-01-18", "2026-01-25"]),
        ("0 0 * * 7", ["2026-01-04", "2026-01-11", "2026-01-18", "2026-01-25"]),
        ("@daily", ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]),
        ("@weekly", ["2026-01-04", "2026-01-11", "2026-01-18", "2026-01-25"]),
        ("@MONTHLY", ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"]),
        ("@yearly", ["2026-01-01", "2027-01-01", "2028-01-01", "2029-01-01"]),
    ],
)
def test_days_are_told(expression, wanted):
    assert next_days(expression) == wanted


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("5/20 * * * *", [5, 25, 45, 65]),
        ("10-30/10,59 * * * *", [10, 20, 30, 59]),
        ("*/7 * * * *", [7, 14, 21, 28]),
        ("*/59 * * * *", [59, 60, 119, 120]),
        ("  0   */6  *  *  * ", [360, 720, 1080, 1440]),
        ("@hourly", [60, 120, 180, 240]),
    ],
)
def test_minutes_are_told(expression, wanted):
    timetable = read_timetable(expression, timezone="UTC", anchor=NOW)

    found = moments(timetable, after=NOW, limit=4)

    assert [(moment - NOW) // timedelta(minutes=1) for moment in found] == wanted


def test_a_sixth_field_before_the_others_is_the_second():
    timetable = read_timetable("*/25 59 23 * * *", timezone="UTC", anchor=NOW)

    found = moments(timetable, after=NOW, limit=4)

    assert [f"{moment:%d %H:%M:%S}" for moment in found] == [
        "01 23:59:00",
        "01 23:59:25",
        "01 23:59:50",
        "02 23:59:00",
    ]


def test_an_interval_goes_on_from_its_anchor_whatever_the_clocks_do():
    anchor = datetime(2026, 3, 29, 0, 30, 15, 999, tzinfo=UTC)
    timetable = read_timetable("@every 1h30m", timezone="Europe/Berlin", anchor=anchor)

    found = moments(timetable, after=anchor - timedelta(days=1), limit=3)

    assert [f"{moment:%H:%M:%S.%f}" for moment in found] == [
        "00:30:15.000000",
        "02:00:15.000000",
        "03:30:15.000000",
    ]
    late = anchor + timedelta(days=400)
    following = timetable.after(late)
    assert following is not None
    assert (following - found[0]) % timedelta(minutes=90) == timedelta()
    assert timedelta() < following - late <= timedelta(minutes=90)


@pytest.mark.parametrize(
    ("expression", "zone", "wanted"),
    [
        ("@at 2026-07-01T12:00:00Z", "Europe/Berlin", "2026-07-01T12:00:00+00:00"),
        ("@at 2026-07-01T12:00:00+02:00", "UTC", "2026-07-01T10:00:00+00:00"),
        ("@at 2026-07-01T12:00:00.001Z", "UTC", "2026-07-01T12:00:01+00:00"),
        ("@at 2026-07-01 12:00", "Europe/Berlin", "2026-07-01T10:00:00+00:00"),
        ("@at 2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00:00+00:00"),
        ("@at 2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00+00:00"),
        ("@AT 2026-07-01T12:00:00", "-03:00", "2026-07-01T15:00:00+00:00"),
    ],
)
def test_a_single_moment_comes_once(expression, zone, wanted):
    timetable = read_timetable(expression, timezone=zone, anchor=NOW)

    (moment,) = moments(timetable, after=NOW, limit=2)

    assert moment.isoformat() == wanted
    assert timetable.after(moment) is None


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "must have 1 to 100 characters"),
        ("* " * 60, "must have 1 to 100 characters"),
        ("* * * *", "must have 5 fields"),
        ("* * * * * * *", "it has 7"),
        ("60 * * * *", "minute: 60 is not within 0-59"),
        ("60 * * * * *", "second: 60 is not within 0-59"),
        ("* 24 * * *", "hour: 24 is not within 0-23"),
        ("* * 0 * *", "day-of-month: 0 is not within 1-31"),
        ("* * * 13 *", "month: 13 is not within 1-12"),
        ("* * * * 8", "day-of-week: 8 is not within 0-7"),
        ("* * * FOO *", "month: FOO is not a number of 1 to 12 or JAN to DEC"),
        ("* * * * MO", "day-of-week: MO is not a number of 0 to 7 or SUN to SAT"),
        ("*/0 * * * *", "minute: */0 needs a step of 1 to 60"),
        ("*/61 * * * *", "minute: */61 needs a step of 1 to 60"),
        ("*/-1 * * * *", "minute: */-1 needs a step of 1 to 60"),
        ("*/ * * * *", "minute: */ needs a step of 1 to 60"),
        ("5-1 * * * *", "minute: 5-1 runs backwards"),
        ("1,,2 * * * *", "minute: nothing is not a number"),
        ("-1 * * * *", "minute: nothing is not a number"),
        ("1.5 * * * *", "minute: 1.5 is not a number"),
        ("R * * * *", "minute: R is not a number"),
        ("\u0663 * * * *", "minute: \u0663 is not a number"),
        ("* * ? * *", "day-of-month: ? is not a number"),
        ("* * L-31 * *", "day-of-month: L-31 goes back 1 to 30 days"),
        ("* * 32W * *", "day-of-month: 32 is not within 1-31"),
        ("* * * * 5#6", "day-of-week: 5#6 needs 1 to 5 after the #"),
        ("* * * * L", "day-of-week: L is not a number"),
        ("0 0 30 2 *", "day-of-month: 30 is in none of the months, 2"),
        ("0 0 31 APR,JUN *", "day-of-month: 31 is in none of the months, APR,JUN"),
        ("@fortnightly", "'@fortnightly' is none of @yearly, @annually"),
        ("@daily at noon", "'@daily at noon' is none of"),
        ("@reboot", "@reboot: nothing is ever booted here"),
        ("@every", "@every: '' is no time"),
        ("@every 5", "@every: '5' is no time"),
        ("@every 0s", "@every: must be at least 1s and at most 366d"),
        ("@every 367d", "@every: must be at least 1s and at most 366d"),
        ("@at", "@at: '' is no RFC 3339 time"),
        ("@at noon", "@at: 'noon' is no RFC 3339 time"),
    ],
)
def test_an_expression_that_says_nothing_is_told_why(expression, words):
    with pytest.raises(ValueError, match=r"^Invalid cron expression: .") as refused:
        read_timetable(expression, timezone="UTC", anchor=NOW)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "utc", "+25:00", "+5:30", "../../etc/passwd", "Europe"]
)
def test_a_zone_that_there_is_not_is_refused(zone):
    with pytest.raises(ValueError, match="is no time zone"):
        read_timetable("@daily", timezone=zone, anchor=NOW)


def test_zones_are_those_of_the_package():
    assert EDITION >= "2026a"
    assert str(zone_of("Europe/Berlin")) == "Europe/Berlin"
    assert zone_of("Europe/Berlin") is zone_of("Europe/Berlin")


texts = st.text(st.characters(codec="utf-8"), max_size=110)
hostile = st.text("0123456789*/-,#LW @atevryd\u00b2\x00", max_size=110)


@given(texts | hostile)
@settings(max_examples=500, derandomize=True, deadline=None)
def test_no_text_does_more_than_be_refused(text):
    try:
        timetable = read_timetable(text, timezone="Europe/Berlin", anchor=NOW)
    except InvalidCron:
        return
    following = timetable.after(NOW)
    assert following is None or following > NOW
