"""What stands in ``libs/common/pb`` is what ``make proto`` makes of ``proto/``."""

import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.pb import spooled_pb2 as pb

ROOT = Path(__file__).parents[2]
MADE = ("spooled_pb2.py", "spooled_pb2.pyi", "spooled_pb2_grpc.py")

#: Numbers that clients have compiled in: never edited, only added to (contract 2.2).
NUMBERS = {
    "Job": "id organization_id queue_name status payload result retry_count "
    "max_retries last_error priority timeout_seconds created_at scheduled_at "
    "started_at completed_at lease_expires_at assigned_worker_id idempotency_key "
    "lease_id",
    "EnqueueRequest": "queue_name payload priority max_retries timeout_seconds "
    "scheduled_at idempotency_key tags",
    "EnqueueResponse": "job_id created",
    "DequeueRequest": "queue_name worker_id lease_duration_secs batch_size",
    "DequeueResponse": "jobs",
    "CompleteRequest": "job_id worker_id result lease_id",
    "CompleteResponse": "success",
    "FailRequest": "job_id worker_id error retry lease_id",
    "FailResponse": "success will_retry next_retry_delay_secs",
    "RenewLeaseRequest": "job_id worker_id extension_secs lease_id",
    "RenewLeaseResponse": "success new_expires_at",
    "GetJobRequest": "job_id",
    "GetJobResponse": "job",
    "GetQueueStatsRequest": "queue_name",
    "GetQueueStatsResponse": "queue_name pending scheduled processing completed failed "
    "deadletter total max_age_ms",
    "StreamJobsRequest": "queue_name worker_id lease_duration_secs",
    "ProcessRequest": "dequeue complete fail renew_lease",
    "ProcessResponse": "job complete fail renew_lease error",
    "ErrorResponse": "code message",
    "RegisterWorkerRequest": "queue_name hostname worker_type max_concurrency version "
    "metadata worker_id",
    "RegisterWorkerResponse": "worker_id lease_duration_secs heartbeat_interval_secs",
    "HeartbeatRequest": "worker_id current_jobs status metadata",
    "HeartbeatResponse": "acknowledged should_drain",
    "DeregisterRequest": "worker_id",
    "DeregisterResponse": "success",
}


def test_the_generated_code_is_fresh(tmp_path):
    subprocess.run(
        [
            sys.executable,
            *("-m", "grpc_tools.protoc"),
            *("-I", "libs/common/pb=proto/spooled/v1"),
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            f"--grpc_python_out={tmp_path}",
            "proto/spooled/v1/spooled.proto",
        ],
        cwd=ROOT,
        check=True,
    )

    for name in MADE:
        made = (tmp_path / "libs/common/pb" / name).read_text()
        assert made == (ROOT / "libs/common/pb" / name).read_text(), "run `make proto`"


@pytest.mark.parametrize("message", NUMBERS)
def test_fields_keep_their_numbers(message):
    fields = pb.DESCRIPTOR.message_types_by_name[message].fields_by_name
    numbers = {name: fields[name].number for name in NUMBERS[message].split()}

    assert list(numbers.values()) == list(range(1, len(numbers) + 1))


def test_what_has_presence_keeps_it():
    fail = pb.DESCRIPTOR.message_types_by_name["FailRequest"].fields_by_name
    register = pb.DESCRIPTOR.message_types_by_name["RegisterWorkerRequest"]

    assert fail["retry"].has_presence
    assert register.fields_by_name["worker_id"].has_presence
    assert not fail["lease_id"].has_presence


def test_statuses_keep_their_numbers():
    names = (
        "UNSPECIFIED PENDING SCHEDULED PROCESSING COMPLETED FAILED DEADLETTER CANCELLED"
    )

    assert dict(pb.JobStatus.items()) == {
        f"JOB_STATUS_{name}": number for number, name in enumerate(names.split())
    }
