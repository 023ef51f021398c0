"""Events onto outgoing and completion webhooks: a job for each who is to be told.

The jobs are created in the transaction that remembers how far the journal (or the
notices) were told: who dies before has told nobody, and nobody tells it twice.  Of jobs
in the lanes of these jobs nobody is told anything; how the deliveries go is counted in
the same transaction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

import orjson
from prometheus_client import Counter

from libs.common import outgoing
from libs.common.db import Conn
from libs.common.ids import new_id
from libs.common.lifecycle import Transition
from libs.common.store import jobs, telling
from libs.common.store.jobs import NewJob, Push
from libs.common.store.journal import Entry
from libs.common.store.lanes import LaneName, open_lanes
from libs.common.store.notices import Notice
from libs.common.store.outgoing import BY_ITSELF
from libs.common.store.telling import Audience, Doorstep, Outcome, Webhook
from services.scheduler.relay import ENDS, Happening, happening, happenings

TOLD: Final = Counter("bellhop_events_told_total", "Deliveries of events created.")

#: Jobs that are created by one statement: what they carry, up to a MiB each, is in
#: memory meanwhile.
_BATCH: Final = 32
#: What is enough for one transaction, which must be short (see `teller`).
_LETTERS_MAX: Final = 100
_BYTES_MAX: Final = 4 * 1024 * 1024
_RANK: Final = 100
#: No worker ever has one of these; the contract's number all the same.
_TIMEOUT_SECONDS: Final = 300
_OUTCOMES: Final[Mapping[str, str]] = {
    Transition.COMPLETED: "success",
    Transition.RETRYING: "failed",
    Transition.DEADLETTERED: "failed",
    Transition.QUARANTINED: "failed",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """Somebody to be told of something: a webhook, or the URL of a job that ended."""

    happening: Happening
    to: Webhook | Doorstep
    #: The job whose end is told, to a URL of its own.
    completion_of: UUID | None = None

    @property
    def lane(self) -> LaneName:
        """Where its delivery stands: each receiver delays only its own."""
        if isinstance(self.to, Webhook):
            destination = f"endpoint:{self.to.id}"
        else:
            destination = f"{outgoing.COMPLETION}{self.to.origin}"
        return LaneName(self.happening.organization_id, outgoing.QUEUE, destination)


@dataclass(slots=True)
class Told:
    """What one transaction told."""

    #: How many happenings, of those that were to be told; some may have had no letters.
    happenings: int = 0
    #: Whether there are more to tell now.
    more: bool = False
    #: Deliveries that were created, and the lanes in which they stand.
    created: int = 0
    lanes: set[int] = field(default_factory=set)
    #: Organizations with a webhook that was disabled.
    disabled: Sequence[UUID] = ()


class Overtaken(Exception):  # noqa: N818 - what happened, nothing that is wrong
    """Somebody else told it meanwhile: the transaction must not be committed."""


async def audience_of(conn: Conn, entries: Sequence[Entry]) -> Audience:
    """Return who may want to be told of these transitions."""
    told = [entry for entry in entries if not entry.telling]
    if not told:
        return Audience()
    return await telling.find_audience(
        conn,
        organization_ids={entry.organization_id for entry in told},
        ended={entry.job_id for entry in told if entry.transition in ENDS},
    )


def letters_of(entries: Iterable[Entry], audience: Audience) -> Iterator[Letter]:
    """Yield who is to be told of transitions, in their order."""
    for entry in entries:
        webhooks = audience.webhooks.get(entry.organization_id, ())
        doorstep = None
        if entry.transition in ENDS:
            doorstep = audience.completions.get(entry.job_id)
        if entry.telling or not (webhooks or doorstep):
            continue
        told = happenings(entry)
        for one in told:
            yield from _letters(one, webhooks)
        if doorstep is not None:
            # Of a job that is given up it is told that it failed.
            yield Letter(told[0], doorstep, completion_of=entry.job_id)


def letters_of_notices(
    notices: Iterable[Notice], audience: Audience
) -> Iterator[Letter]:
    """Yield who is to be told of notices, in their order."""
    for notice in notices:
        webhooks = audience.webhooks.get(notice.organization_id, ())
        if webhooks:
            yield from _letters(happening(notice), webhooks)


def _letters(one: Happening, webhooks: Iterable[Webhook]) -> Iterator[Letter]:
    for webhook in webhooks:
        if not {one.event, outgoing.EVERYTHING}.isdisjoint(webhook.event_types):
            yield Letter(one, webhook)


async def tell(conn: Conn, addressed: Iterable[Iterable[Letter]]) -> Told:
    """Create deliveries of one happening after the other, until that is enough.

    In a transaction, whose caller remembers how far it came.
    """
    told = Told()
    waiting: list[Letter] = []
    size = 0
    for letters in addressed:
        waiting.extend(letters)
        told.happenings += 1
        if len(waiting) < _BATCH:
            continue
        size += await _deliver(conn, waiting, told)
        waiting = []
        if told.created >= _LETTERS_MAX or size >= _BYTES_MAX:
            return told
    await _deliver(conn, waiting, told)
    return told


async def _deliver(conn: Conn, letters: Iterable[Letter], told: Told) -> int:
    """Create deliveries and note them; return how many characters they carry."""
    waiting = iter(letters)
    size = 0
    while batch := list(islice(waiting, _BATCH)):
        results = await telling.read_results(
            conn,
            job_ids={
                letter.happening.result_of
                for letter in batch
                if letter.happening.result_of is not None
            },
        )
        numbers = await open_lanes(
            conn, names=sorted({letter.lane for letter in batch})
        )
        made = [_job(letter, numbers[letter.lane], results) for letter in batch]
        await jobs.create(conn, jobs=made)
        size += sum(len(job.payload or "") for job in made)
        told.lanes.update(numbers.values())
        told.created += len(made)
    return size


def _job(letter: Letter, lane_id: int, results: dict[UUID, str]) -> NewJob:
    id_, one, to = new_id(), letter.happening, letter.to
    webhook = to if isinstance(to, Webhook) else None
    headers = orjson.dumps(outgoing.headers_of(one.event)).decode()
    push = None
    if isinstance(to, Doorstep):
        push = Push(
            url=to.url,
            method="POST",
            headers=headers,
            timeout_seconds=outgoing.TIMEOUT_SECONDS,
        )
    result = None if one.result_of is None else results.get(one.result_of)
    return NewJob(
        id=id_,
        organization_id=one.organization_id,
        queue_name=outgoing.QUEUE,
        lane_id=lane_id,
        payload=outgoing.body_of(
            webhook.format if webhook else "json",
            id_=str(id_),
            event=one.event,
            created_at=one.at,
            data=one.with_result(result),
        ),
        rank=_RANK,
        max_retries=webhook.max_retries if webhook else 0,
        timeout_seconds=_TIMEOUT_SECONDS,
        job_type=one.event,
        retry=webhook.retry if webhook else None,
        push=push,
        headers=headers,
        endpoint_id=webhook.id if webhook else None,
        completion_of=letter.completion_of,
    )


def outcomes_of(entries: Iterable[Entry]) -> list[Outcome]:
    """Return how deliveries to outgoing webhooks went, by webhook."""
    found: dict[UUID, Outcome] = {}
    for entry in entries:
        status = _OUTCOMES.get(entry.transition)
        if not entry.telling or entry.endpoint_id is None or status is None:
            continue
        before = found.get(entry.endpoint_id)
        arrived = status == "success"
        failures = 0 if before is None or arrived else before.failures
        if entry.transition in ENDS and not arrived:
            failures += 1
        found[entry.endpoint_id] = Outcome(
            entry.endpoint_id,
            arrived or (before is not None and before.arrived),
            failures,
            status,
            entry.at,
        )
    return list(found.values())


async def note_outcomes(conn: Conn, outcomes: Sequence[Outcome]) -> list[UUID]:
    """Count how deliveries went; return whose webhooks were disabled for it."""
    if not outcomes:
        return []
    return await telling.note_outcomes(
        conn,
        outcomes=outcomes,
        reason=BY_ITSELF,
        failures_max=outgoing.FAILURES_MAX,
    )
