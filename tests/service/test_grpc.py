"""The gRPC door itself: how it is, what it serves, and that it is hard to shake."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import REGISTRY

from libs.cli.embedded.ports import free_port
from libs.common.pb import spooled_pb2 as pb
from services.ingest.settings import Settings
from tests.support.grpc_client import EOF, GrpcApi, open_grpc_api
from tests.support.house import SECRET_KEY, run_house
from tests.support.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OURS = ("spooled.v1.QueueService", "spooled.v1.WorkerService")


@pytest.mark.parametrize("name", ["", *OURS])
async def test_check_and_watch_follow_readiness(database_url, nats_url, name):
    port = free_port()
    request = health_pb2.HealthCheckRequest(service=name)
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), grpc_port=port
        ) as house,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)

        async def serves():
            return (await health.Check(request)).status == SERVING

        await until(serves)
        seen = []

        async def watch():
            watched = health.Watch(request)
            async for answer in watched:
                seen.append(answer.status)  # noqa: PERF401 - seen as it grows

        watching = asyncio.create_task(watch())
        await until(lambda: seen == [SERVING])
        await house.stop("ingest")
        await asyncio.gather(watching, return_exceptions=True)

    assert seen == [SERVING, NOT_SERVING]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_stranger_may_ask_what_is_served(grpc_house, grpc_port, version):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        talk: Any = ask(None)
        await talk.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await talk.read()
        await talk.write(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=OURS[0])
        )
        described = await talk.read()
        await talk.done_writing()
        assert await talk.read() is EOF

    names = {one.name for one in listed.list_services_response.service}
    files = [
        FileDescriptorProto.FromString(one)
        for one in described.file_descriptor_response.file_descriptor_proto
    ]
    assert {*OURS, "grpc.health.v1.Health"} <= names
    assert {"grpc.reflection.v1.ServerReflection"} <= names
    assert "spooled.v1" in {one.package for one in files}


async def test_a_client_that_pings_every_second_is_not_sent_away(
    grpc_house, grpc_port, tenant
):
    options = [
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 2_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{grpc_port}", options=options
    ) as channel:
        api = GrpcApi(channel, (("x-api-key", tenant.api_key),))
        await api.enqueue()
        stream = api.stream()
        job = await stream.read()
        # Three pings and a half: a server that minds says so at the third.
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(stream.read())], timeout=17.5
        )
        stream.cancel()

    assert job.id
    assert not done


async def test_a_message_that_is_too_large_is_refused_alone(grpc_api):
    large = pb.EnqueueRequest(queue_name="mail", payload={"x": "y" * 5 * 1024 * 1024})

    await grpc_api.refused("Enqueue", large, "RESOURCE_EXHAUSTED")
    assert await grpc_api.enqueue()


async def test_calls_are_counted_by_method_and_status(grpc_house, grpc_port, tenant):
    def counted(code):
        labels = {"method": "GetJob", "code": code}
        return REGISTRY.get_sample_value("bellhop_grpc_calls_total", labels) or 0

    before = counted("OK"), counted("UNAUTHENTICATED")
    for key in (tenant.api_key, "sk_live_nobody"):
        async with open_grpc_api(grpc_port, key) as api:
            call = api.call("GetJob", pb.GetJobRequest(job_id="x"))
            await asyncio.gather(call, return_exceptions=True)

    assert counted("OK") == before[0] + 1
    assert counted("UNAUTHENTICATED") == before[1] + 1


@pytest.mark.parametrize("half", ["grpc_tls_cert_path", "grpc_tls_key_path"])
def test_half_of_tls_is_a_mistake(half):
    given: dict[str, Any] = {half: "file.pem"}

    with pytest.raises(ValueError, match="go together"):
        Settings(
            DATABASE_URL="postgresql://localhost/x",
            secret_key=SECRET_KEY,
            **given,
        )
