"""No request over gRPC is our fault: whatever bytes it is, it is answered or refused.

Each method is called with messages that its descriptor allows and nobody would send,
and with bytes that are no message, with and without a credential.  Never is the answer
``INTERNAL`` or ``UNKNOWN``, nothing crashes, and who asks properly is still answered.
"""

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from libs.common.pb import spooled_pb2 as pb
from tests.support.furnished import QUEUE, WORKER, furnish
from tests.support.house import open_api
from tests.support.protobufs import messages, spoiled

METHODS = [
    method
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
EXAMPLES = settings(
    max_examples=12,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: What may wait for a job, and so is not waited for.
PATIENT = {"Dequeue", "StreamJobs", "ProcessJobs"}
LOOK_SECONDS = 0.25
ANSWER_SECONDS = 30.0
OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED", "ABORTED"}
#: What whoever shows no credential is told; too many are told to wait.
REFUSED = {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}


def deserializer(data):
    return data


def called(channel, method, data, metadata):
    """Call with bytes; return the status and what was answered first."""
    kind = (
        channel.stream_stream
        if method.client_streaming
        else channel.unary_stream
        if method.server_streaming
        else channel.unary_unary
    )
    path = f"/{method.containing_service.full_name}/{method.name}"
    ask = kind(path, None, deserializer)
    patient = metadata and method.name in PATIENT
    seconds = LOOK_SECONDS if patient else ANSWER_SECONDS
    request = iter([data]) if method.client_streaming else data
    try:
        answer = ask(request, timeout=seconds, metadata=metadata)
        if method.server_streaming:
            for one in answer:
                return "OK", one
            return "OK", b""
    except grpc.RpcError as error:
        return error.code().name, (error.details() or "").encode()
    return "OK", answer


def bombard(port, key, words, number):
    """Call every method with whatever comes; return the statuses, and what is wrong."""
    met: set[tuple[str, str]] = set()
    wrong: list[Any] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in METHODS:
            for status in bombard_one(channel, method, key, words, number, wrong):
                met.add((method.name, status))
    return met, wrong


def bombard_one(channel, method, key, words, number, wrong):
    """Call one method; return the statuses, and add to what is *wrong*."""
    met: set[str] = set()
    credentials = {"nobody": (), "tenant": (("x-api-key", key),)}

    @seed(number)
    @EXAMPLES
    @given(
        well=messages(method.input_type, words),
        ill=spoiled(method.input_type, words) | st.binary(max_size=200),
    )
    def ask(well, ill):
        for data in (well.SerializeToString(), ill):
            for who, metadata in credentials.items():
                status, said = called(channel, method, data, metadata)
                met.add(status)
                known = who == "tenant"
                if (
                    status in OURS
                    or b"INTERNAL" in said
                    or not (known or status in REFUSED)
                ):
                    wrong.append((method.name, who, status, said[:200], data[:500]))

    ask()
    return met


@pytest.mark.timeout(0)
async def test_no_request_is_answered_with_a_fault_of_ours(
    grpc_house, grpc_port, grpc_api, tenant, fuzzing
):
    async with open_api(grpc_house, tenant) as api:
        owned = await furnish(api)
        words = (QUEUE, WORKER, owned.endpoint_id, owned.lease_id, *owned.job_ids)
        before = crashes()

        for number in fuzzing.rounds():
            met, wrong = await asyncio.to_thread(
                bombard, grpc_port, tenant.api_key, words, number
            )
            assert wrong == [], f"--seed {number}"
            assert await grpc_api.enqueue()

        assert crashes() == before
        await api.ask("GET", f"/jobs/{owned.pending_id}", expect=200)
    # Fuzz that nothing ever lets in shows little.
    assert {name for name, status in met if status == "OK"} >= {"GetJob", "Heartbeat"}
    assert {name for name, _ in met} == {method.name for method in METHODS}


def crashes():
    """Return how often a call or an actor of this process has failed."""
    return [
        sum(
            sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name == name and sample.labels.get("code", wanted) == wanted
        )
        for name, wanted in (
            ("bellhop_grpc_calls_total", "INTERNAL"),
            ("bellhop_actor_failures_total", ""),
        )
    ]
