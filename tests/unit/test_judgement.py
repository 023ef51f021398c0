"""What becomes of a job after whatever a receiver answers."""

from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.backoff import STANDARD_RETRIES
from libs.common.messages import Verdict
from libs.common.store.settlement import Policy
from services.dispatcher.judgement import is_delivered, judge

JOB, LEASE = UUID(int=1), UUID(int=2)
FRESH = Policy(retry_count=0, max_retries=3, retry=None)
LAST = Policy(retry_count=3, max_retries=3, retry=None)
ONCE = Policy(retry_count=0, max_retries=0, retry=None)


def verdict(**fields):
    return Verdict(
        **{"job_id": str(JOB), "lease_id": str(LEASE), "status": 500, **fields}
    )


def judged(policy=FRESH, luck=0.0, **fields):
    settled = judge(verdict(**fields), policy, luck=luck)
    assert settled is not None
    assert (settled.job_id, settled.lease_id) == (JOB, LEASE)
    return settled


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_fate(status):
    fresh, last = judged(FRESH, status=status), judged(LAST, status=status)

    assert fresh.status_code == last.status_code == status
    if 200 <= status < 300:
        assert is_delivered(verdict(status=status))
        assert (fresh.how, last.how) == ("completed", "completed")
        assert fresh.error is None
        return
    assert not is_delivered(verdict(status=status))
    assert fresh.error == last.error == f"HTTP {status}"
    assert last.how == "deadlettered"
    if status == 410:
        assert (fresh.how, fresh.death, last.death) == ("deadlettered", "gone", "gone")
    else:
        assert (fresh.how, fresh.delay_seconds) == ("retrying", 1.0)
        assert (fresh.death, last.death) == (None, "attempts_exhausted")


def test_what_goes_to_an_endpoint_is_tried_again_for_three_days():
    """At 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, and up to a tenth later."""
    minutes, hours = 60, 3600
    expected = [5, 5 * minutes, 30 * minutes]
    expected += [hours * each for each in (2, 5, 10, 14, 20, 24)]

    for count, seconds in enumerate(expected):
        policy = Policy(count, STANDARD_RETRIES, None, to_endpoint=True)
        assert judged(policy).delay_seconds == seconds
        late = judged(policy, luck=0.999_999).delay_seconds
        assert seconds * 1.09 < late <= seconds * 1.1
    last = Policy(len(expected), STANDARD_RETRIES, None, to_endpoint=True)
    assert judged(last).how == "deadlettered"
    assert sum(expected) == 75 * hours + 35 * minutes + 5


def test_an_endpoint_s_own_policy_goes_before_the_usual_one():
    retry = '{"strategy": "schedule", "schedule_seconds": [7], "jitter": 0}'

    assert judged(Policy(0, 9, retry, to_endpoint=True)).delay_seconds == 7
    assert judged(Policy(0, 9, retry)).delay_seconds == 7
    assert judged(Policy(0, 9, None)).delay_seconds == 1


@pytest.mark.parametrize("asked", [0, 1, 4, 5, 6, 3600, 86_400, 10**9])
def test_retry_after_moves_an_attempt_later_never_earlier(asked):
    policy = Policy(0, 9, None, to_endpoint=True)

    delay = judged(policy, status=503, retry_after=str(asked)).delay_seconds

    assert delay == max(5, min(asked, 86_400))


@pytest.mark.parametrize(
    ("policy", "how"), [(FRESH, "retrying"), (LAST, "deadlettered")]
)
def test_who_does_not_answer_is_tried_again_while_it_may_be(policy, how):
    settled = judged(policy, status=None, error="connection refused")

    assert (settled.how, settled.error) == (how, "connection refused")
    assert settled.status_code is None


def test_without_retries_the_first_failure_is_the_last():
    assert judged(ONCE).how == "deadlettered"


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_job_is_tried_as_often_as_it_may_be_and_no_more(retry_count, max_retries):
    settled = judged(Policy(retry_count, max_retries, None))

    assert settled.how == ("retrying" if retry_count < max_retries else "deadlettered")


def test_an_answer_that_broke_off_is_no_success():
    settled = judged(status=200, error="the answer broke off")

    assert (settled.how, settled.status_code) == ("retrying", 200)
    assert settled.error == "the answer broke off"


@pytest.mark.parametrize("status", [None, 200, 410, 500])
@pytest.mark.parametrize("policy", [None, FRESH, LAST])
def test_what_was_not_sent_goes_back_as_it_came(policy, status):
    settled = judged(policy, sent=False, status=status, body=b"left over")

    assert (settled.how, settled.delay_seconds, settled.death) == (
        "released",
        None,
        None,
    )
    assert settled.response_body is None


def test_a_failure_whose_lease_is_gone_is_nobodys_business():
    assert judge(verdict(status=500), None, luck=0.0) is None
    assert judge(verdict(status=410), None, luck=0.0) is None


def test_a_success_is_settled_without_looking_up_the_policy():
    assert judged(None, status=204).how == "completed"


# --- when -----------------------------------------------------------------------------


def test_a_receiver_may_ask_for_later():
    assert judged(retry_after="120").delay_seconds == 120
    assert judged(retry_after="0").delay_seconds == 1
    assert judged(retry_after="soon").delay_seconds == 1
    assert judged(retry_after=str(10**9)).delay_seconds == 86_400


@pytest.mark.parametrize("status", [429, 503, 302, 500, None])
def test_whatever_it_answers_with_it(status):
    assert judged(status=status, error="x", retry_after="7").delay_seconds == 7


def test_410_is_over_whatever_it_asks_for():
    settled = judged(status=410, retry_after="60")

    assert (settled.how, settled.delay_seconds) == ("deadlettered", None)


def test_the_policy_of_the_job_decides_when():
    schedule = '{"strategy": "schedule", "schedule_seconds": [5, 60], "jitter": 0.5}'

    assert judged(Policy(0, 3, schedule)).delay_seconds == 5
    assert judged(Policy(1, 3, schedule)).delay_seconds == 60
    assert judged(Policy(1, 3, schedule), luck=0.5).delay_seconds == 75
    assert judged(Policy(0, 3, schedule), retry_after="9").delay_seconds == 9


# --- what is kept ---------------------------------------------------------------------


def test_what_is_kept_of_an_answer_has_its_limits():
    settled = judged(error="e" * 5000, body=b"b" * 20_000, duration_ms=1.5)

    assert settled.error == "e" * 2048
    assert settled.response_body == b"b" * 16_384
    assert settled.duration_ms == 1.5


def test_what_a_stranger_writes_can_be_stored():
    settled = judged(error="a\x00b", headers={"x-\x00": "\x00"}, body=b"\x00\xff")

    assert settled.error == "a\ufffdb"
    assert settled.response_headers is not None
    assert orjson.loads(settled.response_headers) == {"x-\ufffd": "\ufffd"}
    assert settled.response_body == b"\x00\xff"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


verdicts = st.builds(
    Verdict,
    job_id=st.just(str(JOB)),
    lease_id=st.just(str(LEASE)),
    sent=st.booleans(),
    status=st.none() | st.integers(100, 999),
    error=st.none() | texts,
    retry_after=st.none() | texts,
    headers=st.none() | st.dictionaries(texts, texts),
    body=st.binary(max_size=100),
)


@given(verdicts, st.sampled_from([FRESH, LAST, ONCE, None]))
def test_nothing_a_receiver_does_is_an_error_of_ours(verdict, policy):
    settled = judge(verdict, policy, luck=0.5)

    if settled is None:
        assert policy is None
        return
    assert (settled.how == "retrying") == (settled.delay_seconds is not None)
    assert (settled.how == "deadlettered") == (settled.death is not None)
    if settled.how in ("retrying", "deadlettered"):
        assert settled.error is not None
