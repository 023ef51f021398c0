"""Retries: never early, never in step, and never beyond what anybody may ask."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.backoff import (
    DELAY_SECONDS_MAX,
    Exponential,
    Schedule,
    delay_seconds,
    parse_retry_after,
    policy_of,
    read_policy,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

seconds = st.floats(0, DELAY_SECONDS_MAX)
parts = st.floats(0, 1)
lucks = st.floats(0, 1, exclude_max=True)
counts = st.integers(0, 100) | st.integers(0, 10**6)
exponentials = st.builds(
    Exponential,
    strategy=st.just("exponential"),
    initial_seconds=seconds,
    factor=st.floats(1, 10),
    max_seconds=seconds,
    jitter=parts,
)
schedules = st.builds(
    Schedule,
    strategy=st.just("schedule"),
    schedule_seconds=st.lists(seconds, min_size=1, max_size=100),
    jitter=parts,
)
policies = st.none() | exponentials | schedules


def planned(policy, retry_count):
    """The delay without luck and without wishes of the receiver."""
    return delay_seconds(policy, retry_count=retry_count, luck=0.0)


@given(policies, counts, lucks, st.none() | st.floats(0, 1e12))
def test_an_attempt_is_never_early_and_never_beyond_reason(
    policy, retry_count, luck, asked
):
    delay = delay_seconds(
        policy, retry_count=retry_count, luck=luck, retry_after_seconds=asked
    )

    assert delay >= planned(policy, retry_count)
    assert delay >= min(asked or 0.0, DELAY_SECONDS_MAX)
    assert 0 <= delay <= 2 * DELAY_SECONDS_MAX


@given(policies, counts, lucks, lucks)
def test_jitter_only_adds_and_more_luck_is_later(policy, retry_count, luck, more):
    earlier, later = sorted((luck, more))
    first, second = (
        delay_seconds(policy, retry_count=retry_count, luck=each)
        for each in (earlier, later)
    )
    base = planned(policy, retry_count)

    assert base <= first <= second
    jitter = 0.5 if policy is None else base * policy.jitter
    assert second <= (base + jitter) * 1.0000001


@given(exponentials, counts)
def test_an_exponential_grows_to_its_maximum_and_stays(policy, retry_count):
    now, following = planned(policy, retry_count), planned(policy, retry_count + 1)

    assert now <= following <= policy.max_seconds


@given(schedules, counts)
def test_a_schedule_is_followed_and_its_last_step_repeats(policy, retry_count):
    steps = policy.schedule_seconds

    assert planned(policy, retry_count) == steps[min(retry_count, len(steps) - 1)]


def test_without_a_policy_the_contract_holds():
    delays = [planned(None, retry_count) for retry_count in range(9)]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert planned(None, 10**9) == 60


def test_a_tiny_beginning_may_grow_beyond_all_numbers():
    policy = Exponential(strategy="exponential", initial_seconds=1, factor=10)

    assert planned(policy, 10**6) == policy.max_seconds


@given(lucks, st.floats(0, 1e9))
def test_a_receiver_moves_an_attempt_later_but_not_earlier(luck, asked):
    alone = delay_seconds(None, retry_count=3, luck=luck)
    delay = delay_seconds(None, retry_count=3, luck=luck, retry_after_seconds=asked)

    assert delay == max(alone, min(asked, DELAY_SECONDS_MAX))


# --- Retry-After ----------------------------------------------------------------------


@given(st.integers(0, 10**9), st.sampled_from(["{}", " {}", "{}\t", "000{}"]))
def test_seconds_are_read(number, form):
    text = form.format(number)

    assert parse_retry_after(text, now=NOW) == float(text.strip()[:10])


@given(st.integers(-(10**8), 10**8))
def test_a_date_is_read_and_the_past_means_now(ahead):
    moment = NOW + timedelta(seconds=ahead)
    header = format_datetime(moment, usegmt=True)

    assert parse_retry_after(header, now=NOW) == max(0, ahead)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60),
        ("Sun Mar  1 12:01:00 2026", 60),
        ("Sun, 01 Mar 2026 14:01:00 +0200", 60),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 60),
    ],
)
def test_every_form_of_a_date_is_read(header, expected):
    assert parse_retry_after(header, now=NOW) == expected


@pytest.mark.parametrize(
    "header",
    [None, "", " ", "soon", "-1", "1.5", "1e3", "0x10", "\u0663", "1 2", "\x00", "+5"],
)
def test_what_says_nothing_asks_nothing(header):
    assert parse_retry_after(header, now=NOW) is None


words = st.sampled_from(
    ["Mon,", "Jan", "01", "2026", "00:00:00", "GMT", "+0000", "-9999", "9" * 20, ":"]
)


@given(st.text() | st.lists(words, max_size=8).map(" ".join))
@example("Mon, 01 Jan 99999999999999 00:00:00 GMT")
@example("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT")
@example("Mon, 01 Jan 2026 00:00:00 +99999999999999")
@example("9" * 100_000)
def test_whatever_a_receiver_writes_harms_nobody(header):
    asked = parse_retry_after(header, now=NOW)

    assert asked is None or asked >= 0


# --- policies -------------------------------------------------------------------------


@given(exponentials | schedules)
def test_a_policy_survives_being_stored(policy):
    assert read_policy(policy.model_dump_json()) == policy


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "{}",
        '{"strategy": "linear"}',
        '{"strategy": "exponential", "factor": 0.5}',
        '{"strategy": "exponential", "factor": 11}',
        '{"strategy": "exponential", "initial_seconds": -1}',
        '{"strategy": "exponential", "max_seconds": 86401}',
        '{"strategy": "exponential", "jitter": 1.1}',
        '{"strategy": "exponential", "surprise": 1}',
        '{"strategy": "schedule", "schedule_seconds": []}',
        '{"strategy": "schedule", "schedule_seconds": [1, -1]}',
        '{"strategy": "schedule"}',
    ],
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(ValidationError):
        read_policy(text)


# --- the simple settings of a queue ---------------------------------------------------


def delays(knobs, *, luck=0.0):
    policy = policy_of(None, json.dumps(knobs))
    return [delay_seconds(policy, retry_count=n, luck=luck) for n in range(4)]


def test_without_settings_there_is_no_policy():
    assert policy_of(None, None) is None
    assert policy_of(None, "{}") is None


def test_a_policy_goes_before_the_simple_settings():
    retry = '{"strategy": "schedule", "schedule_seconds": [5]}'

    assert policy_of(retry, '{"retry_delay_ms": 1}') == read_policy(retry)


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"retry_delay_ms": 500}, [0.5, 1.0, 2.0, 4.0]),
        ({"backoff_multiplier": 3}, [1.0, 3.0, 9.0, 27.0]),
        ({"max_retry_delay_ms": 1500}, [1.0, 1.5, 1.5, 1.5]),
        ({"retry_delay_ms": 40_000}, [40.0, 60.0, 60.0, 60.0]),
        ({"retry_delay_ms": 90_000}, [90.0, 90.0, 90.0, 90.0]),
        ({"retry_delay_ms": 100, "backoff_multiplier": 1}, [0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_the_simple_settings_make_a_policy(knobs, expected):
    assert delays(knobs) == pytest.approx(expected)
    assert delays(knobs, luck=0.99) >= expected


@pytest.mark.parametrize(
    "knobs",
    [
        {"retry_delay_ms": "soon"},
        {"retry_delay_ms": True},
        {"retry_delay_ms": None, "backoff_multiplier": [2]},
        {"backoff_multiplier": 10**400},
    ],
)
def test_settings_that_are_no_numbers_are_none(knobs):
    assert policy_of(None, json.dumps(knobs)) is None


def test_settings_out_of_range_are_moved_into_it():
    assert delays({"retry_delay_ms": -5, "backoff_multiplier": 99}) == [0.0] * 4
    assert (
        delays({"retry_delay_ms": 10**300, "backoff_multiplier": 0}) == [86_400.0] * 4
    )
