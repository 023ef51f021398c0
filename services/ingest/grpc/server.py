"""The gRPC server: its transport, and who answers what (contract 2.1).

``grpc.health.v1.Health`` says of the whole server (the empty name), and of each of our
services, what ``/health/ready`` says over HTTP, to callers of ``Check`` and watchers of
``Watch`` alike, so that a load balancer or a Kubernetes ``grpc`` probe can ask here.
Health and reflection ask for no credential.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health import aio as health_service  # type: ignore[attr-defined]

from libs.common.health import Health
from libs.common.loops import every
from libs.common.pb import spooled_pb2 as pb
from services.ingest.grpc.asking import Asking
from services.ingest.grpc.batches import Batches
from services.ingest.grpc.behind import Behind
from services.ingest.grpc.handing import Handing
from services.ingest.grpc.hands import Hands
from services.ingest.grpc.methods import bind
from services.ingest.grpc.producing import Producing
from services.ingest.grpc.reflection import reflect
from services.ingest.grpc.registering import Registering
from services.ingest.grpc.sizes import MESSAGE_BYTES_MAX
from services.ingest.grpc.streaming import Streaming
from services.ingest.grpc.working import Working
from services.ingest.producing import Producing as Door
from services.ingest.settings import Settings

log = structlog.get_logger()

_LOOK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
_KEEPALIVE_MS: Final = 10_000
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 200),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients ping as often as we do, with and without a call: they are not sent away.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
)
_SERVICES: Final = tuple(pb.DESCRIPTOR.services_by_name.values())
_NAMES: Final = tuple(service.full_name for service in _SERVICES)


class GrpcDoor:
    """A server that listens, and what it says of its health."""

    def __init__(
        self,
        server: grpc.aio.Server,
        behind: Behind,
        health: Health,
        *,
        development: bool,
        stopping: asyncio.Event,
    ) -> None:
        self._health = health
        self._servicer = health_service.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        reflect(server, (SERVICE_NAME, *_NAMES))
        self._hands = Hands(behind.hot, behind.bus, behind.settlement, stopping)
        handing = Handing(behind.settlement)
        working = Working(behind.claims, behind.settlement, behind.heartbeats, handing)
        self._streaming = Streaming(behind, self._hands, handing, working, stopping)
        door = Door(behind.intake, behind.subscribers, behind.hot, development)
        answering = (
            Producing(behind.intake, door),
            Asking(behind.pool),
            working,
            Batches(behind.settlement, behind.heartbeats),
            self._streaming,
            Registering(behind.pool, behind.bus),
        )
        server.add_generic_rpc_handlers(
            tuple(bind(service, answering, behind.admission) for service in _SERVICES)
        )

    def actors(self) -> list[tuple[str, Callable[[asyncio.Event], Awaitable[None]]]]:
        """Return who works behind the door, by name."""
        return [
            ("grpc.look", self.look),
            ("grpc.hands.look", self._hands.look),
            ("grpc.hands.listen", self._hands.listen),
            ("grpc.streaming.listen", self._streaming.listen),
        ]

    async def look(self, stopping: asyncio.Event) -> None:
        """Keep what is said of our health true, until stopped (an actor)."""

        async def turn() -> None:
            await self.say(serving=not await self._health.failing())

        await every(_LOOK_SECONDS, turn, stopping=stopping)
        await self.say(serving=False)

    async def say(self, *, serving: bool) -> None:
        """Say of the whole server, and of each service, whether it serves."""
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if serving else statuses.NOT_SERVING
        for name in ("", *_NAMES):
            await self._servicer.set(name, status)


@asynccontextmanager
async def open_grpc(
    settings: Settings, behind: Behind, health: Health, stopping: asyncio.Event
) -> AsyncIterator[GrpcDoor]:
    """Listen until the block ends; calls under way may then finish, streams are ended.

    Raises `OSError` when the port is taken, or a file of TLS cannot be read.
    """
    # Not unless it is meant: two stacks on one port would each get half of the calls.
    sharing = ("grpc.so_reuseport", int(settings.share_ports))
    server = grpc.aio.server(options=(*_OPTIONS, sharing))
    door = GrpcDoor(
        server, behind, health, development=settings.development, stopping=stopping
    )
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}") from error
    # Nobody is to hear that there is no such service.
    await door.say(serving=False)
    await server.start()
    log.info("grpc.listening", port=port, tls=credentials is not None)
    try:
        yield door
    finally:
        await server.stop(_CLOSE_SECONDS)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return what TLS needs, or None when it is not wanted."""
    if settings.grpc_tls_key_path is None or settings.grpc_tls_cert_path is None:
        return None
    key = Path(settings.grpc_tls_key_path).read_bytes()
    certificates = Path(settings.grpc_tls_cert_path).read_bytes()
    return grpc.ssl_server_credentials([(key, certificates)])
