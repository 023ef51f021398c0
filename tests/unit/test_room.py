"""What is left of a plan: as many fit as may be taken, and no more."""

from copy import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import QuotaExceeded
from libs.common.plans import Limits, Plan
from libs.common.quotas import Room

few = st.integers(0, 6)
maybe = st.none() | few


@st.composite
def rooms(draw):
    limits = Limits(
        max_jobs_per_day=draw(maybe),
        max_active_jobs=draw(maybe),
        max_queues=draw(maybe),
    )
    queues = draw(st.sets(st.sampled_from("abc")))
    return Room(
        Plan("free", limits),
        draw(few),
        draw(few),
        None if limits.max_queues is None else queues,
    )


@given(room=rooms(), jobs=few, queue_name=st.none() | st.sampled_from("ab"))
def test_as_many_fit_as_may_be_taken(room, jobs, queue_name):
    def take(many):
        one = replace(room, queues=copy(room.queues))
        if queue_name is None:
            one.take_again(many)
        else:
            one.take(many, queue_names=[queue_name])

    fit = room.fits(jobs, queue_name=queue_name)

    assert 0 <= fit <= jobs
    if fit:
        take(fit)
    if fit < jobs:
        with pytest.raises(QuotaExceeded):
            take(fit + 1)
