"""Where messages come in: each with its deliveries and its key, in one transaction.

Messages of the same moment share one, as jobs do (`intake`).  Which endpoints a message
goes to is decided here, from what is remembered of them; whether that still holds, by
the statement that lets it in.  Where it does not, the message is planned anew while
nobody may change them: a producer that was told of an endpoint can rely on it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from libs.common import quotas
from libs.common.batcher import Batcher
from libs.common.bus import Bus
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import (
    BellhopError,
    QuotaExceeded,
    Unauthorized,
    Unavailable,
)
from libs.common.ids import new_id
from libs.common.lines import release_lines
from libs.common.messages import OrganizationChanged
from libs.common.store import incoming, jobs, messages, usage
from libs.common.store.incoming import Entry
from libs.common.store.jobs import NewJob
from libs.common.store.messages import QUEUE, KeyHolder, Outcome
from services.ingest.accepted import DURATION, Source, counter, note_refused
from services.ingest.planning import (
    Planned,
    WantedMessage,
    chunks,
    deliveries_of,
    lanes_of,
    message_of,
    plan_all,
)
from services.ingest.remembered import Known, Remembered, is_whole
from services.ingest.settings import BATCH_BYTES_MAX
from services.ingest.subscribers import Subscribers, Subscriptions

log = structlog.get_logger()

#: Messages of organizations with limits that are counted together.
_COUNTED_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Sent:
    """The message that now stands for a request; *created* is false for a known key."""

    message_id: UUID
    created: bool
    deliveries: int
    #: Of the request that made the message, when both have one and they differ.
    differs: bool = False


#: How it went for one message of a batch; its errors are its own.
Answer = Sent | QuotaExceeded | Unauthorized | Unavailable


@dataclass(frozen=True, slots=True)
class _Round:
    """What one transaction did: those without room, and those that were tried."""

    answers: dict[int, Answer]
    admitted: dict[int, Planned]
    outcomes: Mapping[UUID, Outcome]
    rows: list[NewJob]
    known: Known


class MessageIntake:
    """Commits messages in batches and tells who waits for their deliveries."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        *,
        subscribers: Subscribers,
        batch_max: int,
        lanes: int,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._subscribers = subscribers
        self._remembered = Remembered(bus)
        self._batcher: Batcher[WantedMessage, Answer] = Batcher(
            "send",
            partial(self._flush, counted=False),
            batch_max=batch_max,
            lanes=lanes,
            weigh=_bytes_of,
            weight_max=BATCH_BYTES_MAX,
            took=DURATION,
        )
        self._counted: Batcher[WantedMessage, Answer] = Batcher(
            "send_counted",
            partial(self._flush, counted=True),
            batch_max=_COUNTED_MAX,
            lanes=lanes,
            weigh=_bytes_of,
            weight_max=BATCH_BYTES_MAX,
            took=DURATION,
        )

    async def send(self, wanted: WantedMessage, *, source: Source) -> Sent:
        """Return when a message is committed, or the one that holds its key.

        *source* is the door that it came through.

        Raises `QuotaExceeded` when the plan has no room for its deliveries,
        `Unauthorized` when the organization is no more, and `Unavailable` when Postgres
        is away: then it may be repeated.
        """
        batcher = self._batcher if wanted.plan.unlimited else self._counted
        try:
            answer = await batcher.put(wanted)
            if not isinstance(answer, Sent):
                raise answer
        except BellhopError as error:
            note_refused(source, error)
            raise
        counter(source, "created" if answer.created else "known").inc()
        return answer

    async def listen(self, stopping: asyncio.Event) -> None:
        """Forget what is said to have changed, until stopped (an actor)."""
        await self._bus.hear(OrganizationChanged, self.forget, stopping=stopping)

    def forget(self, word: OrganizationChanged) -> None:
        """Forget an organization's endpoints, lanes and queues."""
        self._subscribers.forget(word)
        self._remembered.forget(word)

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._batcher.drain()
        await self._counted.drain()

    async def _flush(
        self, batch: Sequence[WantedMessage], *, counted: bool
    ) -> list[Answer]:
        known = await self._subscriptions({one.organization_id for one in batch})
        answers: dict[int, Answer] = {}
        for chunk in chunks(plan_all(dict(enumerate(batch)), known)):
            answers |= await self._try(self._commit(chunk, counted=counted), chunk)
        late = {n: one for n, one in enumerate(batch) if n not in answers}
        if late:
            for one in late.values():
                self._subscribers.drop(one.organization_id)
            answers |= await self._try(self._commit_late(late, counted=counted), late)
        return [
            answers.get(number, Unauthorized("Organization is not available"))
            for number in range(len(batch))
        ]

    async def _try(
        self, commit: Awaitable[dict[int, Answer]], numbers: Iterable[int]
    ) -> dict[int, Answer]:
        """Return what became of messages; whose endpoints changed are left out."""
        try:
            return await commit
        except Unavailable as error:
            # What was committed before, with others of the batch, stays committed.
            return dict.fromkeys(numbers, error)

    async def _commit(
        self, planned: Mapping[int, Planned], *, counted: bool
    ) -> dict[int, Answer]:
        async with borrow(self._pool) as conn, conn.transaction():
            done = await self._let_in(conn, planned, counted=counted)
        return await self._committed(done)

    async def _commit_late(
        self, late: Mapping[int, WantedMessage], *, counted: bool
    ) -> dict[int, Answer]:
        """Plan messages whose endpoints changed anew, while nobody may change them."""
        organization_ids = {one.organization_id for one in late.values()}
        async with borrow(self._pool) as conn, conn.transaction():
            await messages.hold_endpoints(conn, organization_ids=organization_ids)
            known = await self._subscribers.look_up(conn, organization_ids)
            planned = plan_all(late, known)
            done = await self._let_in(conn, planned, counted=counted)
        return await self._committed(done)

    async def _let_in(
        self, conn: Conn, planned: Mapping[int, Planned], *, counted: bool
    ) -> _Round:
        """Create messages with their deliveries, in the caller's transaction."""
        answers = await _without_room(conn, planned) if counted else {}
        admitted = {n: one for n, one in planned.items() if n not in answers}
        outcomes = await messages.create(
            conn, messages=[message_of(one) for one in admitted.values()]
        )
        created = [one for one in admitted.values() if outcomes[one.id] == "created"]
        lanes = lanes_of(created)
        known = self._remembered.recall(lanes)
        if not is_whole(known, lanes):
            await self._remembered.complete(conn, known, lanes)
        rows = [row for one in created for row in deliveries_of(one, known)]
        if rows:
            await jobs.create(conn, jobs=rows)
        entries = list(_entries(created))
        if entries:
            await incoming.note_created(conn, entries=entries)
        if counted:
            await usage.charge(
                conn, created=Counter(row.organization_id for row in rows)
            )
        return _Round(answers, admitted, outcomes, rows, known)

    async def _committed(self, done: _Round) -> dict[int, Answer]:
        """Tell who waits for what was committed; return what became of each message."""
        self._remembered.keep(done.known)
        await self._tell(done.rows)
        holders = await self._holders(done.admitted.values(), done.outcomes)
        answers = done.answers
        for number, one in done.admitted.items():
            answer = _answer(one, done.outcomes[one.id], holders)
            if answer is not None:
                answers[number] = answer
        return answers

    async def _subscriptions(
        self, organization_ids: set[UUID]
    ) -> dict[UUID, Subscriptions]:
        known = self._subscribers.recall(organization_ids)
        unknown = organization_ids - known.keys()
        if unknown:
            async with borrow(self._pool) as conn:
                known |= await self._subscribers.look_up(conn, unknown)
        return known

    async def _holders(
        self, planned: Iterable[Planned], outcomes: Mapping[UUID, Outcome]
    ) -> dict[tuple[UUID, str], KeyHolder]:
        keys = {
            one.wanted.key
            for one in planned
            if outcomes[one.id] == "taken" and one.wanted.key is not None
        }
        if not keys:
            return {}
        try:
            async with borrow(self._pool) as conn:
                return await messages.find_by_keys(conn, keys=sorted(keys))
        except Unavailable as error:
            # What is committed is committed: only who needs the look is told no.
            log.warning("send.holders_unknown", cause=str(error))
            return {}

    async def _tell(self, rows: Sequence[NewJob]) -> None:
        """Say what came; who waits for it looks again by itself if this is lost."""
        if not rows:
            return
        await self._bus.ring_lanes(
            (row.lane_id, True) for row in rows if row.line is None
        )
        await self._bus.ring_journal()
        if any(row.line is not None for row in rows):
            # They are held until somebody says whose turn it is.
            await release_lines(self._pool, self._bus)


async def _without_room(
    conn: Conn, planned: Mapping[int, Planned]
) -> dict[int, Answer]:
    """Return who is refused, and why; nobody else counts until the transaction ends.

    A message whose key is taken, or was asked for before, costs nothing.
    """
    refused: dict[int, Answer] = {}
    rooms = await quotas.hold(
        conn,
        {one.wanted.organization_id: one.wanted.plan for one in planned.values()},
        queues=True,
    )
    keys = {one.wanted.key for one in planned.values() if one.wanted.key is not None}
    taken = set(await messages.find_by_keys(conn, keys=sorted(keys))) if keys else set()
    for number, one in planned.items():
        if one.wanted.key in taken:
            continue
        try:
            quotas.room_of(rooms, one.wanted.organization_id).take(
                len(one.subscribers), queue_names=_charged_queues(one)
            )
        except (QuotaExceeded, Unauthorized) as error:
            refused[number] = error
        else:
            if one.wanted.key is not None:
                taken.add(one.wanted.key)
    return refused


def _charged_queues(one: Planned) -> set[str]:
    """Return the queues that count: of what came in from outside none does (5.9)."""
    return {QUEUE} if one.subscribers and one.wanted.delivery is None else set()


def _entries(created: Iterable[Planned]) -> Iterable[Entry]:
    """Yield what to log: the messages that came in from outside."""
    for one in created:
        if one.wanted.delivery is not None:
            yield Entry(
                id=new_id(),
                organization_id=one.wanted.organization_id,
                delivery=one.wanted.delivery,
                queue_name=None,
                message_id=one.id,
            )


def _answer(
    one: Planned,
    outcome: Outcome,
    holders: Mapping[tuple[UUID, str], KeyHolder],
) -> Answer | None:
    """Return how it went, or None when it has to be planned anew."""
    if outcome == "created":
        return Sent(one.id, created=True, deliveries=len(one.subscribers))
    if outcome == "gone":
        return Unauthorized("Organization is not available")
    if outcome == "stale" or one.wanted.key is None:
        return None
    holder = holders.get(one.wanted.key)
    if holder is None:
        return Unavailable("who holds the idempotency key is not known; try again")
    return Sent(
        holder.message_id,
        created=False,
        deliveries=holder.deliveries,
        differs=holder.fingerprint != one.wanted.fingerprint,
    )


def _bytes_of(message: WantedMessage) -> int:
    return len(message.payload)
