"""Ids sort by their time of birth, and their time of birth can be read."""

import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ids import born_at, first_id_at, new_id, parse_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(0, 2 * 10**17).map(
    lambda count: EPOCH + timedelta(microseconds=count)
)


def test_a_new_id_is_a_uuid_of_version_seven():
    id_ = new_id()

    assert isinstance(id_, UUID)
    assert (id_.version, id_.variant) == (7, UUID(int=1 << 63).variant)


def test_later_ids_sort_after_earlier_ones():
    made = [new_id() for _ in range(10_000)]

    assert made == sorted(set(made))


def test_an_id_is_born_when_it_is_made():
    before = time.time()
    id_ = new_id()

    assert before - 0.01 <= born_at(id_).timestamp() <= time.time() + 0.01
    assert first_id_at(born_at(id_)) < id_
    assert first_id_at(born_at(id_) + timedelta(milliseconds=1)) > id_


@given(moments)
def test_the_first_id_of_a_moment_is_born_then_to_the_millisecond(moment):
    lost = timedelta(microseconds=moment.microsecond % 1000)

    assert born_at(first_id_at(moment)) == moment - lost


@given(moments, moments)
def test_first_ids_sort_like_their_moments(one, other):
    assert (first_id_at(one) <= first_id_at(other)) >= (one <= other)


def test_a_moment_is_the_same_in_every_zone():
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=-9)))

    assert first_id_at(elsewhere) == first_id_at(moment)


@given(st.uuids())
def test_an_id_that_is_written_can_be_read(id_):
    assert parse_id(str(id_)) == id_


@pytest.mark.parametrize("text", ["", "x", "0191d0a0", "../etc/passwd", "0" * 33])
def test_what_is_no_id_names_nothing(text):
    assert parse_id(text) is None
