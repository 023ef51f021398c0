"""What verdicts say of the endpoints they come from."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.messages import Verdict
from libs.common.store.settlement import Policy
from services.dispatcher.judgement import judge
from services.dispatcher.outcomes import gone, outcomes_of

ONE, OTHER = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def told(status=200, endpoint_id: UUID | None = ONE, **fields):
    verdict = Verdict(
        **{
            "job_id": str(UUID(int=7)),
            "lease_id": str(UUID(int=8)),
            "endpoint_id": None if endpoint_id is None else str(endpoint_id),
            "status": status,
            "duration_ms": 10.0,
            **fields,
        }
    )
    settled = judge(verdict, Policy(0, 9, None), luck=0.0)
    assert settled is not None
    return verdict, settled


def of_one(*attempts):
    [outcomes] = outcomes_of(attempts, now=NOW)
    assert outcomes.endpoint_id == ONE
    return outcomes


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.booleans())))
def test_each_attempt_counts_once_for_its_endpoint(attempts):
    found = outcomes_of(
        [told(200 if good else 500, endpoint_id) for endpoint_id, good in attempts],
        now=NOW,
    )

    assert {each.endpoint_id for each in found} == {id_ for id_, _ in attempts}
    for each in found:
        mine = [good for id_, good in attempts if id_ == each.endpoint_id]
        assert each.succeeded == sum(mine)
        assert each.failed == len(mine) - sum(mine)
        assert each.duration_ms == 10.0 * len(mine)
        last = mine[::-1]
        assert each.failed_last == (last.index(True) if True in last else len(last))
        assert (each.error is not None) == (each.failed > 0)


def test_what_nobody_configured_and_what_was_not_sent_says_nothing():
    attempts = [told(500, None), told(None, sent=False)]

    assert outcomes_of(attempts, now=NOW) == []
    assert gone([told(410, None), told(410, sent=False), told(500)]) == {}


def test_who_is_gone_says_so_with_410():
    attempts = [
        told(200),
        told(410, OTHER, url_version=3),
        told(404),
        told(410, OTHER, url_version=2),
    ]

    assert gone(attempts) == {OTHER: 3}


def test_what_went_to_another_url_is_told_apart():
    attempts = [told(500, url_version=1), told(200, url_version=2), told(502)]

    found = outcomes_of(attempts, now=NOW)

    assert [(each.url_version, each.succeeded, each.failed) for each in found] == [
        (1, 0, 1),
        (2, 1, 0),
        (0, 0, 1),
    ]
    assert {each.endpoint_id for each in found} == {ONE}


@pytest.mark.parametrize("status", range(200, 600))
def test_some_failures_ask_for_a_rest(status):
    assert of_one(told(status)).throttle_seconds == (
        0.0 if status in {429, 502, 504} else None
    )


@pytest.mark.parametrize("status", [400, 429, 500, 503])
@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Fri, 01 May 2026 00:02:00 GMT", 120.0),
        ("Thu, 30 Apr 2026 00:00:00 GMT", 0.0),
        ("999999999", 86_400.0),
    ],
)
def test_any_failure_may_say_for_how_long(status, asked, seconds):
    assert of_one(told(status, retry_after=asked)).throttle_seconds == seconds


def test_the_longest_rest_counts_and_a_success_asks_for_none():
    attempts = [
        told(503, retry_after="5"),
        told(429),
        told(503, retry_after="60"),
        told(500),
        told(200, retry_after="600"),
    ]

    assert of_one(*attempts).throttle_seconds == 60.0
    assert of_one(attempts[-1]).throttle_seconds is None


def test_who_does_not_answer_has_failed():
    outcomes = of_one(told(None, error="connection refused"))

    assert (outcomes.failed, outcomes.error) == (1, "connection refused")
    assert outcomes.throttle_seconds is None
