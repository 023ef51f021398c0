"""The official gRPC client, driven through all it can do, in a process of its own.

``python -m tests.support.official_grpc PORT KEY [CERTIFICATE]`` prints what it saw as
JSON.  Its messages have the names of ours, and one process can know only one of them.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from spooled.errors import ConflictError, NotFoundError, SpooledError, ValidationError
from spooled.grpc import (
    GrpcCompleteRequest,
    GrpcDequeueRequest,
    ProcessRequest,
    SpooledGrpcClient,
)


def use_queue(client, seen):
    """Enqueue, dequeue, renew, complete, fail, get, count."""
    made = client.queue.enqueue(
        "official", {"n": 1, "deep": {"list": [1, "two"]}}, priority=3, tags={"a": "b"}
    )
    jobs = client.queue.dequeue("official", "w1", batch_size=5).jobs
    seen["dequeued"] = [(job.payload, job.priority, job.status) for job in jobs]
    lease_id = jobs[0].lease_id
    renewed = client.queue.renew_lease(made.job_id, "w1", 60, lease_id=lease_id)
    seen["renewed"] = [renewed.success, renewed.new_expires_at is not None]
    done = client.queue.complete(made.job_id, "w1", {"ok": True}, lease_id=lease_id)
    found = client.queue.get_job(made.job_id).job
    seen["completed"] = [done.success, found.status, found.result]
    seen["missing"] = client.queue.get_job("0193e5a4-0000-7000-8000-000000000000").job
    other = client.queue.enqueue("official", {}, max_retries=0)
    job = client.queue.dequeue("official", "w1").jobs[0]
    failed = client.queue.fail(
        other.job_id, "w1", "no", retry=False, lease_id=job.lease_id
    )
    seen["failed"] = [failed.success, failed.will_retry]
    stats = client.queue.get_queue_stats("official")
    seen["stats"] = [stats.completed, stats.deadletter, stats.total]


def use_errors(client, seen):
    """Meet what goes wrong, as the client's own exceptions."""
    client.queue.enqueue("errors", {})
    job = client.queue.dequeue("errors", "w1").jobs[0]

    def caught(call, *args, **kwargs):
        try:
            call(*args, **kwargs)
        except SpooledError as error:
            return error
        raise AssertionError("nothing was wrong")

    stolen = caught(client.queue.complete, job.id, "w1", lease_id=job.id)
    gone = caught(
        client.queue.complete,
        "0193e5a4-0000-7000-8000-000000000000",
        "w1",
        lease_id=job.lease_id,
    )
    wrong = caught(client.queue.get_queue_stats, "a b")
    client.queue.complete(job.id, "w1", lease_id=job.lease_id)
    again = caught(client.queue.complete, job.id, "w1", lease_id=job.lease_id)
    seen["errors"] = [
        isinstance(stolen, ConflictError) and stolen.code,
        isinstance(gone, NotFoundError),
        isinstance(wrong, ValidationError),
        isinstance(again, ConflictError) and again.code != "LEASE_EXPIRED",
    ]


def use_streams(client, seen):
    """Stream jobs, and hold a conversation."""
    stream = client.queue.stream_jobs("stream", "w1")
    later = threading.Timer(
        0.2, lambda: [client.queue.enqueue("stream", {"n": n}) for n in range(3)]
    )
    later.start()
    streamed = []
    for job in stream:
        streamed.append(job.payload["n"])
        client.queue.complete(job.id, "w1", lease_id=job.lease_id)
        if len(streamed) == 3:
            stream.cancel()
            break
    seen["streamed"] = sorted(streamed)
    client.queue.enqueue("talk", {"n": 7})
    talk = client.queue.process_jobs()
    want = GrpcDequeueRequest(queue_name="talk", worker_id="w1")
    talk.send(ProcessRequest(dequeue=want))
    said = []
    for answer in talk.receive():
        if answer.job:
            said.append(answer.job.payload)
            talk.send(
                ProcessRequest(
                    complete=GrpcCompleteRequest(
                        job_id=answer.job.id,
                        worker_id="w1",
                        lease_id=answer.job.lease_id,
                    )
                )
            )
        elif answer.complete:
            said.append(answer.complete.success)
            talk.send(ProcessRequest(dequeue=want))
        else:
            said.append(answer.error_code)
            talk.end()
    seen["talked"] = said


def use_workers(client, seen):
    """Register, beat, deregister."""
    came = client.workers.register("official", "box", worker_id="official-1")
    beat = client.workers.heartbeat(came.worker_id, current_jobs=1)
    gone = client.workers.deregister(came.worker_id)
    seen["worker"] = [
        came.worker_id,
        came.lease_duration_secs,
        beat.acknowledged,
        beat.should_drain,
        gone.success,
    ]


def main():
    """Do it all; print what was seen."""
    port, key, *certificate = sys.argv[1:]
    client = SpooledGrpcClient(
        address=f"localhost:{port}",
        api_key=key,
        use_tls=bool(certificate),
        root_certificates=Path(certificate[0]).read_bytes() if certificate else None,
        timeout=20.0,
    )
    seen: dict[str, Any] = {}
    began = time.monotonic()
    with client:
        client.wait_for_ready(10)
        for use in (use_queue, use_errors, use_streams, use_workers):
            use(client, seen)
    seen["seconds"] = round(time.monotonic() - began, 1)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
