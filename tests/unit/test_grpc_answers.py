"""Jobs as gRPC shows them: there is a word for however a job stands."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.lifecycle import Status
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc import answers
from services.ingest.grpc.sizes import JOB_BYTES_MAX


def shown(**columns):
    row: Any = defaultdict(
        lambda: None,
        id=UUID(int=1),
        organization_id=UUID(int=2),
        queue_name="mail",
        status="pending",
        rank=100,
        retry_count=0,
        max_retries=3,
        timeout_seconds=300,
        payload="{}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return answers.job(row | columns)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_word(status):
    said = pb.JobStatus.Name(shown(status=status.value).status)

    # gRPC has no word for a job whose time had passed: it will not run either.
    expected = "CANCELLED" if status is Status.EXPIRED else status.name
    assert said == f"JOB_STATUS_{expected}"


def test_a_delivery_shows_the_payload_of_its_message():
    job = shown(payload=None, message_payload='{"n": 1}')

    assert dict(job.payload) == {"n": 1}


def test_a_delivery_of_a_forgotten_message_has_an_empty_payload():
    job = shown(payload=None, message_payload=None)

    assert (job.HasField("payload"), dict(job.payload)) == (True, {})


@given(st.integers())
def test_an_integer_is_shown_as_it_was_sent(number):
    spelled = f'{{"in": [{{"n": {number}}}]}}'
    job = shown(payload=spelled, result=spelled, status="completed")

    # Whoever knows the `Struct` alone sees what a double has of it.
    assert job.payload["in"][0]["n"] == job.result["in"][0]["n"] == float(number)
    if abs(number) <= 2**53:
        assert not job.HasField("payload_json")
        assert not job.HasField("result_json")
    else:
        assert (job.payload_json, job.result_json) == (spelled, spelled)


def test_an_exact_integer_takes_no_room_that_there_is_not():
    spelled = orjson.dumps({"n": [2**60 + 1] + [1] * 250_000}).decode()
    job = shown(payload=spelled, result=spelled, status="completed")

    # Both of the payload would leave too little for the result, whatever that is.
    assert (job.payload_json, dict(job.payload)) == (spelled, {})
    assert (job.result_json, len(job.result["n"])) == (spelled, 250_001)
    assert job.ByteSize() <= JOB_BYTES_MAX
