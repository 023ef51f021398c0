"""What workers say of themselves: they come, show that they live, and go."""

from dataclasses import dataclass
from typing import Final

from libs.common.access import Principal
from libs.common.bus import Bus
from libs.common.db import Pool
from libs.common.errors import Conflict
from libs.common.pb import spooled_pb2 as pb
from services.ingest import workers
from services.ingest.grpc import checks
from services.ingest.grpc.errors import AlreadyExists
from services.ingest.requests.checking import checked
from services.ingest.requests.workers import RegisterWorker

_CONCURRENCY: Final = 5
_CONCURRENCY_MAX: Final = 100
_HEARTBEAT_SECONDS: Final = 10
_STATUSES: Final = ("healthy", "degraded", "draining")


@dataclass(frozen=True, slots=True)
class Registering:
    """Register, Heartbeat, Deregister."""

    pool: Pool
    bus: Bus

    async def register(
        self, request: pb.RegisterWorkerRequest, principal: Principal
    ) -> pb.RegisterWorkerResponse:
        """Enter a worker; raises `AlreadyExists` for an id of somebody else's."""
        asked = {
            "queue_name": request.queue_name,
            "hostname": checks.hostname(request.hostname),
            "worker_type": request.worker_type or None,
            "max_concurrency": min(
                request.max_concurrency
                if request.max_concurrency > 0
                else _CONCURRENCY,
                _CONCURRENCY_MAX,
            ),
            "version": request.version or None,
            "metadata": checks.texts(request.metadata) or None,
            "worker_id": request.worker_id or None,
        }
        wanted = checked(
            RegisterWorker,
            {name: value for name, value in asked.items() if value is not None},
        )
        try:
            registered = await workers.register(
                self.pool, self.bus, principal=principal, wanted=wanted
            )
        except Conflict as error:
            raise AlreadyExists(str(error)) from error
        return pb.RegisterWorkerResponse(
            worker_id=registered.worker_id,
            lease_duration_secs=checks.LEASE_SECONDS,
            heartbeat_interval_secs=_HEARTBEAT_SECONDS,
        )

    async def heartbeat(
        self, request: pb.HeartbeatRequest, principal: Principal
    ) -> pb.HeartbeatResponse:
        """Note that a worker lives; nobody's worker is told so, not refused."""
        beat = await workers.heartbeat(
            self.pool,
            self.bus,
            principal=principal,
            worker_id=checks.worker_id(request.worker_id),
            current_jobs=max(0, request.current_jobs),
            status=request.status if request.status in _STATUSES else "healthy",
            metadata=checks.texts(request.metadata) or None,
        )
        return pb.HeartbeatResponse(
            acknowledged=beat.acknowledged, should_drain=beat.should_drain
        )

    async def deregister(
        self, request: pb.DeregisterRequest, principal: Principal
    ) -> pb.DeregisterResponse:
        """Let a worker go; the jobs in its hands become ready again."""
        success = await workers.deregister(
            self.pool,
            self.bus,
            principal=principal,
            worker_id=checks.worker_id(request.worker_id),
        )
        return pb.DeregisterResponse(success=success)
