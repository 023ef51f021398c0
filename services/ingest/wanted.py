"""What producers ask for, checked: the last that is done before Postgres is asked."""

from typing import Any
from uuid import UUID

import msgspec
import orjson

from libs.common import tracing
from libs.common.access import Principal
from libs.common.addresses import Target, checked_url
from libs.common.errors import Fault, Malformed, PayloadOverPlan
from libs.common.ids import parse_id
from libs.common.plans import Plan
from libs.common.store.incoming import Delivery
from libs.common.store.jobs import Push
from libs.common.store.lanes import LaneName, endpoint_destination
from libs.common.store.lines import Line
from services.ingest.idempotency import fingerprint_of
from services.ingest.requests.jobs import CreateJob, EndpointTarget
from services.ingest.settings import PAYLOAD_BYTES_MAX
from services.ingest.subscribers import Subscriber
from services.ingest.webhook_urls import webhook_url


class Wanted(msgspec.Struct, frozen=True):
    """A checked job on its way in."""

    organization_id: UUID
    plan: Plan
    request: CreateJob
    #: The producer's bytes: they reach the receiver as they are.
    payload: str
    lane: LaneName
    push: Push | None
    job_type: str | None
    fingerprint: bytes | None
    #: The job that must complete first.
    parent_id: UUID | None
    #: The webhook that it came in as: it is logged with the job.
    delivery: Delivery | None = None
    #: Where its end is told.
    completion: Target | None = None
    #: The endpoint that it goes to, instead of a push.
    endpoint: Subscriber | None = None
    #: Those it takes turns with.
    line: Line | None = None
    #: The request that asks for it, if that is traced.
    trace: str | None = msgspec.field(default_factory=tracing.here)

    @property
    def key(self) -> tuple[UUID, str] | None:
        """What only one job may hold."""
        key = self.request.idempotency_key
        return None if key is None else (self.organization_id, key)


def wanted(
    principal: Principal,
    request: CreateJob,
    *,
    payload: bytes,
    development: bool,
    endpoint: Subscriber | None = None,
) -> Wanted:
    """Check what shapes cannot say; raises `Malformed` and `PayloadOverPlan`.

    *endpoint* is the one that the request names, if it names one.
    """
    require_room(principal.plan, len(payload))
    push, origin, target = None, "", request.target
    if isinstance(target, EndpointTarget):
        if endpoint is None:
            raise no_such_endpoint()
        origin = endpoint_destination(endpoint.id)
    elif target is not None:
        checked = checked_url(target.url, development=development, field="target.url")
        origin = checked.origin
        push = Push(
            url=checked.url,
            method=target.method,
            headers=orjson.dumps(target.headers).decode() if target.headers else None,
            timeout_seconds=target.timeout_seconds,
        )
    return Wanted(
        organization_id=principal.organization_id,
        plan=principal.plan,
        request=request,
        payload=payload.decode(),
        lane=LaneName(principal.organization_id, request.queue_name, origin),
        push=push,
        job_type=job_type_in(request.payload),
        fingerprint=fingerprint_of(request) if request.idempotency_key else None,
        parent_id=_parent_id(request),
        completion=_completion(request, development=development),
        endpoint=endpoint,
        line=_line(principal, request, endpoint),
    )


def require_room(plan: Plan, payload_bytes: int) -> None:
    """Raise unless a payload is not too large: `Malformed`, `PayloadOverPlan`."""
    if payload_bytes > PAYLOAD_BYTES_MAX:
        raise Malformed(Fault("payload", "Payload too large: at most 1 MiB", "size"))
    limit = plan.limits.max_payload_size_bytes
    if payload_bytes > limit:
        raise PayloadOverPlan(current=payload_bytes, limit=limit, plan=plan.tier)


def no_such_endpoint() -> Malformed:
    """Return what is wrong with a target that is none of the organization's."""
    return Malformed(
        Fault("target.endpoint_id", "must be an endpoint of yours", "unknown_endpoint")
    )


def no_such_parent() -> Malformed:
    """Return what is wrong with a parent that is no job of the queue (contract 1.4)."""
    return Malformed(
        Fault("parent_job_id", "must be a job of the same queue", "unknown_parent")
    )


def _completion(request: CreateJob, *, development: bool) -> Target | None:
    if request.completion_webhook is not None:
        return webhook_url(
            request.completion_webhook,
            development=development,
            field="completion_webhook",
        )
    if request.completion_webhook_secret is not None:
        raise Malformed(
            Fault("completion_webhook_secret", "signs nothing: no completion_webhook")
        )
    return None


def _line(
    principal: Principal, request: CreateJob, endpoint: Subscriber | None
) -> Line | None:
    """Return whom a job takes turns with: those of its key, or of its endpoint."""
    key = request.concurrency_key
    if request.ordering_key is not None:
        if endpoint is None:
            raise Malformed(Fault("ordering_key", "is for a target.endpoint_id"))
        if key is not None:
            raise Malformed(Fault("ordering_key", "not along with a concurrency_key"))
        return Line.of_endpoint(endpoint.id, request.ordering_key)
    if endpoint is not None and endpoint.ordered:
        if key is not None:
            raise Malformed(
                Fault("concurrency_key", "the endpoint has an order of its own")
            )
        return Line.of_endpoint(endpoint.id)
    if key is None:
        return None
    return Line.of_queue(principal.organization_id, request.queue_name, key)


def _parent_id(request: CreateJob) -> UUID | None:
    if request.parent_job_id is None:
        return None
    found = parse_id(request.parent_job_id)
    if found is None:
        raise no_such_parent()
    return found


def job_type_in(payload: Any) -> str | None:
    """Return what clients of the contract call a job's type: ``payload.job_type``."""
    if isinstance(payload, dict):
        job_type = payload.get("job_type")
        if isinstance(job_type, str) and "\x00" not in job_type:
            return job_type[:255]
    return None
