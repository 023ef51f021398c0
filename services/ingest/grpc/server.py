"""The gRPC server: the standard health service and reflection.

``grpc.health.v1.Health`` says of the whole server (the empty name) what
``/health/ready`` says over HTTP, to callers of ``Check`` and watchers of ``Watch``
alike, so that a load balancer or a Kubernetes ``grpc`` probe can ask here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health import aio as health_service  # type: ignore[attr-defined]
from grpc_reflection.v1alpha import reflection

from libs.common.health import Health
from libs.common.loops import every

log = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
_MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    # Two services of two stacks on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
)


class GrpcDoor:
    """A server that listens, and what it says of its health."""

    def __init__(self, server: grpc.aio.Server, port: int, health: Health) -> None:
        self.port = port
        self._health = health
        self._servicer = health_service.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        names = (SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

    async def look(self, stopping: asyncio.Event) -> None:
        """Keep what is said of our health true, until stopped (an actor)."""

        async def turn() -> None:
            await self._say(serving=not await self._health.failing())

        await every(_LOOK_SECONDS, turn, stopping=stopping)
        await self._say(serving=False)

    async def _say(self, *, serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if serving else statuses.NOT_SERVING
        await self._servicer.set("", status)


@asynccontextmanager
async def open_grpc(host: str, port: int, health: Health) -> AsyncIterator[GrpcDoor]:
    """Listen until the block ends; raises `OSError` when the port is taken."""
    server = grpc.aio.server(options=_OPTIONS)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {host}:{port}") from error
    door = GrpcDoor(server, bound, health)
    await server.start()
    log.info("grpc.listening", port=bound)
    try:
        yield door
    finally:
        await server.stop(_CLOSE_SECONDS)
