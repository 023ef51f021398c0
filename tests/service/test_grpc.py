"""The gRPC door says how the service is."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.cli.embedded.ports import free_port
from tests.support.house import run_house
from tests.support.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_check_and_watch_follow_readiness(database_url, nats_url):
    port = free_port()
    async with (
        run_house(
            database_url, nats_url, services=("ingest",), grpc_port=port
        ) as house,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)

        async def serves():
            answer = await health.Check(health_pb2.HealthCheckRequest())
            return answer.status == SERVING

        await until(serves)
        seen = []

        async def watch():
            watched = health.Watch(health_pb2.HealthCheckRequest())
            async for answer in watched:
                seen.append(answer.status)  # noqa: PERF401 - seen as it grows

        watching = asyncio.create_task(watch())
        await until(lambda: seen == [SERVING])
        await house.stop("ingest")
        await asyncio.gather(watching, return_exceptions=True)

    assert seen == [SERVING, NOT_SERVING]
