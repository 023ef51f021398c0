"""A producer's job on its way in: the same from whichever door it comes."""

from dataclasses import dataclass
from typing import Any

import msgspec

from libs.common.access import Principal
from libs.common.db import Pool
from libs.common.ids import parse_id
from services.ingest.accepted import Source
from services.ingest.idempotency import key_in_header, reused
from services.ingest.intake import Created, Intake
from services.ingest.requests.checking import as_sent, checked
from services.ingest.requests.jobs import CreateJob, EndpointTarget
from services.ingest.subscribers import Subscriber, Subscribers
from services.ingest.wanted import Wanted, wanted


class _Raw(msgspec.Struct):
    """The producer's bytes of a payload, untouched by reading them."""

    payload: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Producing:
    """Takes jobs in."""

    intake: Intake
    subscribers: Subscribers
    pool: Pool
    development: bool

    async def create(
        self,
        principal: Principal,
        asked: CreateJob,
        *,
        body: bytes,
        data: dict[str, Any],
        key: str | None,
        source: Source,
    ) -> Created:
        """Return when the job that is asked for, or one with its key, is committed.

        *asked* is *data*, checked, which *body* spells; *key* is the header's, and
        *source* the door that it came through.  Raises `Malformed`, `Forbidden`,
        `PayloadOverPlan` and what `Intake.create` does.
        """
        key = key_in_header(key, asked.idempotency_key)
        if key is not None:
            asked = checked(CreateJob, {**data, "idempotency_key": key})
        created = await self.intake.create(
            await self.wanted(principal, asked, body), source=source
        )
        if key is not None and created.differs:
            raise reused()
        return created

    async def wanted(
        self, principal: Principal, asked: CreateJob, body: bytes | msgspec.Raw
    ) -> Wanted:
        """Return a job as it may be taken in; *body* spells it."""
        payload = bytes(as_sent(body, _Raw).payload)
        return await self.wanted_with(principal, asked, payload)

    async def wanted_with(
        self, principal: Principal, asked: CreateJob, payload: bytes
    ) -> Wanted:
        """Return a job as it may be taken in; *payload* is its own, as JSON."""
        principal.require(asked.queue_name)
        return wanted(
            principal,
            asked,
            payload=payload,
            development=self.development,
            endpoint=await self._endpoint(principal, asked),
        )

    async def _endpoint(
        self, principal: Principal, asked: CreateJob
    ) -> Subscriber | None:
        """Return the endpoint that a job is for; None when it names none that is."""
        if not isinstance(asked.target, EndpointTarget):
            return None
        id_ = parse_id(asked.target.endpoint_id)
        if id_ is None:
            return None
        return await self.subscribers.find(self.pool, principal.organization_id, id_)
