"""The hatch: what outside programs ask over NATS, by request and reply.

They hand jobs in, and ask for consumers (`services.ingest.consumers`).  A job is the
body of ``POST /api/v1/jobs``, on a subject that names organization and queue; who asks
is said by a header, and the answer is that of REST.  Accounts of the bus say who may
knock; scope, rates and plan are the key's, as at every door.

Replicas share what comes in.  Who waits for no answer is served all the same.
"""

import asyncio
from typing import Any, Final

import orjson
import structlog
from prometheus_client import Counter

from libs.common import tracing
from libs.common.access import Principal
from libs.common.bus import Bus, Question
from libs.common.errors import (
    BellhopError,
    Fault,
    Forbidden,
    Malformed,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from libs.common.subjects import CONSUMERS, INGEST, read_ingest_subject
from services.ingest import consumers
from services.ingest.answers.jobs import made
from services.ingest.grpc.admission import Admission
from services.ingest.http.errors import crashed, refusal_of
from services.ingest.idempotency import HEADER
from services.ingest.producing import Producing
from services.ingest.requests.checking import checked, parsed
from services.ingest.requests.jobs import CreateJob
from services.ingest.settings import BODY_BYTES_MAX

log = structlog.get_logger()

HANDED_IN: Final = Counter(
    "bellhop_nats_jobs_total", "Jobs asked for over NATS, by answer.", ["status"]
)

#: Says who asks: an API key, bare; or ``Authorization``, as over REST.
KEY_HEADER: Final = "Bellhop-Key"
#: Says how it went, as HTTP does.
STATUS_HEADER: Final = "Bellhop-Status"
_GROUP: Final = "bellhop-ingest"
_UNDER_WAY_MAX: Final = 2000
_BYTES_MAX: Final = 64 * 1024 * 1024

Reply = tuple[int, Any]


class Hatch:
    """One actor: takes requests, many at a time, and answers each."""

    def __init__(self, bus: Bus, admission: Admission, producing: Producing) -> None:
        self._bus = bus
        self._admission = admission
        self._producing = producing
        self._under_way = 0
        self._bytes = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until stopped, and until all that was taken is answered."""
        async with asyncio.TaskGroup() as requests:

            def take(question: Question) -> None:
                requests.create_task(self._serve(question))

            for subject in (INGEST, CONSUMERS):
                requests.create_task(
                    self._bus.answer(
                        f"{subject}.>", take, stopping=stopping, group=_GROUP
                    )
                )

    async def _serve(self, question: Question) -> None:
        size = len(question.data)
        self._under_way += 1
        self._bytes += size
        try:
            with tracing.serving("process bellhop.ingest", question.headers()):
                status, body = await self._reply(question)
        finally:
            self._under_way -= 1
            self._bytes -= size
        if not _is_for_consumer(question):
            HANDED_IN.labels(status=str(status)).inc()
        await question.answer(orjson.dumps(body), {STATUS_HEADER: str(status)})

    async def _reply(self, question: Question) -> Reply:
        try:
            self._require_room()
            if _is_for_consumer(question):
                return await consumers.give(self._bus, question)
            return await self._take_in(question)
        except BellhopError as error:
            return refusal_of(error)
        except Exception:
            # A bug must not take the neighbours along: here a request ends.
            log.exception("hatch.crashed", subject=question.subject[:256])
            return crashed()

    def _require_room(self) -> None:
        """Raise `Unavailable` when too much is under way: it may be asked again."""
        if self._under_way > _UNDER_WAY_MAX or self._bytes > _BYTES_MAX:
            raise Unavailable("the hatch has its fill")

    async def _take_in(self, question: Question) -> Reply:
        organization_id, queue_name = read_ingest_subject(question.subject)
        principal = await self._admission.let_in(
            lambda: _credential(question), lambda: f"nats {organization_id[:64]}"
        )
        _require_owner(principal, organization_id)
        if len(question.data) > BODY_BYTES_MAX:
            raise TooLarge("The request body is larger than 2 MiB")
        data = _with_queue(parsed(question.data), queue_name)
        created = await self._producing.create(
            principal,
            checked(CreateJob, data),
            body=question.data,
            data=data,
            key=question.header(HEADER),
            source="nats",
        )
        return (201 if created.created else 200), made(created)


def _is_for_consumer(question: Question) -> bool:
    return question.subject.startswith(f"{CONSUMERS}.")


def _credential(question: Question) -> str:
    """Return the credential in the headers; raises `Unauthorized`."""
    key = question.header(KEY_HEADER) or ""
    if not key.strip():
        scheme, _, key = (question.header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            key = ""
    if not key.strip():
        raise Unauthorized(f"Missing or invalid {KEY_HEADER} header")
    return key.strip()


def _require_owner(principal: Principal, organization_id: str) -> None:
    if str(principal.organization_id) != organization_id:
        raise Forbidden("API key does not belong to the organization of the subject")


def _with_queue(data: Any, queue_name: str) -> dict[str, Any]:
    """Return a body with the queue of its subject, and no other."""
    if not isinstance(data, dict):
        raise Malformed(Fault("body", "must be an object", "object_type"))
    if data.setdefault("queue_name", queue_name) != queue_name:
        raise Malformed(Fault("queue_name", "differs from the queue of the subject"))
    return data
