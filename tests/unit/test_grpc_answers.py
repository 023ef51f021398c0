"""Jobs as gRPC shows them: there is a word for however a job stands."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.common.lifecycle import Status
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc import answers


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
