"""Every word spoken on the bus: its subject, its shape, its promise.

Hint:
    Core NATS, at most once.  "Look at the table."  Losing one costs a poll interval
    and nothing else.
Request
    Core NATS, one listener, answered.  Who asks repeats until there is an answer.
Command
    JetStream, to one delivery pod.  It may be lost: the lease in Postgres decides.
Event
    JetStream, to whoever listens.  Past tense: it happened, and it is committed.

Encoding is JSON, readable with ``nats sub``.  Unknown fields are ignored, so that
yesterday's service hears tomorrow's word.  To change a message add a field with a
default; to break one write a new class with a new subject, and let both be spoken
for one release.

Shapes are msgspec structs and not pydantic models because they are the hot path: a
batch of 64 jobs is read in 40 µs.  Checked all the same: what the tables could not
hold is no word, whoever said it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final, Literal, Self

import msgspec

from libs.common.bounds import Id, Milliseconds, Name, Seconds, Slots, StatusCode, Whole
from libs.common.lifecycle import Transition
from libs.common.positions import is_position
from libs.common.subjects import token


class Unreadable(ValueError):  # noqa: N818
    """Bytes from the bus that are not the word they should be."""


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """Anything said on the bus."""

    subject: ClassVar[str]

    def encode(self) -> bytes:
        """Return the word as JSON."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read JSON; raises `Unreadable`."""
        try:
            return msgspec.json.decode(data, type=cls)
        except _NO_JSON as error:
            raise Unreadable(f"{cls.__name__}: {error}") from error


_ENCODER: Final = msgspec.json.Encoder()
#: What reading JSON may raise; of text that is no UTF-8 it says so by itself.
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: JSON that is not there: msgspec reads ``Raw``, but not ``Raw | None``.
NULL: Final = msgspec.Raw(b"null")


# --- hints -------------------------------------------------------------------------


class LanesReady(Word, frozen=True, kw_only=True):
    """Push jobs became ready in these lanes (hint)."""

    subject = "bellhop.wake.push"

    lanes: list[Whole]


class WorkReady(Word, frozen=True, kw_only=True):
    """Workers' jobs became ready in these lanes, or room for them did (hint)."""

    subject = "bellhop.wake.work"

    lanes: list[Whole]


class JournalGrew(Word, frozen=True, kw_only=True):
    """Transitions were committed and want to be announced (hint)."""

    subject = "bellhop.wake.journal"


class SchedulesChanged(Word, frozen=True, kw_only=True):
    """Schedules may be due earlier than you think, or ticks of the past are (hint)."""

    subject = "bellhop.wake.schedules"


class OrganizationChanged(Word, frozen=True, kw_only=True):
    """Forget what you remember of it: keys, secrets, queues, endpoints (hint)."""

    subject = "bellhop.hint.organization.changed"

    organization_id: Id


class WorkerSeen(Word, frozen=True, kw_only=True):
    """A registered worker showed itself (hint); that its status changed is an event."""

    subject = "bellhop.hint.worker.seen"

    organization_id: str
    worker_id: str
    queue_name: str
    status: str
    current_jobs: int = 0
    time: str


class DispatcherAlive(Word, frozen=True, kw_only=True):
    """A dispatcher is up, once a second: the pods' credit is shared out (hint)."""

    subject = "bellhop.hint.dispatcher.alive"

    dispatcher: Name


class LeasesHeld(Word, frozen=True, kw_only=True):
    """What a delivery pod carries (hint).

    *slots* is how many attempts the pod carries at once; *leases* are lease ids that
    it works on, by the dispatcher that handed them out: all of them once a second, and
    a new one when its batch arrives.  A lease that no pod names runs out.
    """

    subject = "bellhop.hint.delivery.held"

    pod: str
    slots: Slots
    leases: dict[str, list[Id]]


# --- the way of a batch ------------------------------------------------------------


class SealedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs, sealed for its endpoint.

    *scheme* is ``v1`` (the bytes of an HMAC key), ``v1a`` (the 32 bytes of an ed25519
    seed) or ``contract`` (the text of an outgoing webhook's secret, contract 5.7).
    """

    scheme: Literal["v1", "v1a", "contract"]
    sealed: bytes


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """How a configured endpoint wants its requests.

    *keys* sign now, the current one first; *headers* go with every request, and a trace
    if *send_traceparent*.  *auth* and *tls* (JSON: `libs.common.endpoints`) are sealed
    for the endpoint's id.  *style* ``contract`` signs and names as contract 5.7 has it.
    """

    style: Literal["standard", "contract"] = "standard"
    keys: list[SealedKey]
    headers: dict[str, str] = {}
    auth: bytes | None = None
    tls: bytes | None = None
    send_traceparent: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to make.  *body* is the exact bytes to send.

    When *body* is null while *body_bytes* is not 0, it does not travel with the batch
    (too large, no JSON, or null): ask for it, and give its *body_digest* if it has one.
    *webhook_id* is what it is sent under, absent the job's id.  With *endpoint_id* the
    request is as its `Receiver` wants it, and signed with its keys; *url_version* says
    which of its URLs this is, and the verdict says it again.  A completion webhook has
    an *endpoint_id* as well, the id of the job whose end it tells, and no version (0).
    """

    job_id: str
    webhook_id: str | None = None
    endpoint_id: str | None = None
    url_version: Whole = 0
    organization_id: str
    attempt: Whole
    url: str
    timeout_seconds: Seconds
    body_bytes: Whole
    body: msgspec.Raw = NULL
    method: str = "POST"
    headers: dict[str, str] = {}
    body_digest: str = ""


class AttemptDeliveries(Word, frozen=True, kw_only=True):
    """Make these attempts while the lease lives (command).

    One lease id covers the batch.  *lease_seconds* is how long the lease lives from
    the moment this was sent, unless renewed, and *sent_at* that moment, on the clock
    of the server that keeps the stream.  *secrets* are the sealed signing secrets of
    the organizations in the batch, newest first (bytes are base64 in JSON);
    *receivers* are the endpoints in it, by id.  *traces* are the requests that created
    those jobs that are traced, by job, and *trace* is the batch as it is sent (W3C).
    """

    subject = "bellhop.work.delivery"

    lease_id: Id
    dispatcher: Name
    lease_seconds: Seconds
    sent_at: float | None = None  # unsaid by dispatchers of the release before
    secrets: dict[str, list[bytes]]
    receivers: dict[str, Receiver] = {}
    traces: dict[str, str] = {}
    trace: str | None = None
    jobs: list[Delivery]


class AttemptWanted(Word, frozen=True, kw_only=True):
    """Ask any pod to make one attempt now, for somebody who waits (request).

    A test, outside every queue: nothing is leased, counted or tried again.  The body
    travels along.  The answer is a `Verdict`.
    """

    subject = "bellhop.attempt"

    job: Delivery
    receiver: Receiver | None = None
    secrets: list[bytes] = []


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went.

    *status* is the receiver's answer, absent when there was none, and then *error*
    says why.  *sent* is false when the attempt was not made at all: the job goes
    back as it came.  *duration_ms* is from the beginning of the attempt, look-up and
    connect included, to its end; *ended_ms_ago* is how long the verdict has waited
    since.  *endpoint_id* and *url_version* are the delivery's.
    """

    job_id: str
    lease_id: str
    endpoint_id: str | None = None
    url_version: Whole = 0
    sent: bool = True
    status: StatusCode | None = None
    error: str | None = None
    duration_ms: Milliseconds = 0.0
    ended_ms_ago: Milliseconds = 0.0
    retry_after: str | None = None
    headers: dict[str, str] | None = None
    body: bytes = b""


class AttemptsEnded(Word, frozen=True, kw_only=True):
    """A batch of verdicts (request); the answer says that they are committed.

    Said to the dispatcher that handed the leases out, or to any when that one does
    not answer: the lease ids in Postgres decide, not who hears it.
    """

    subject = "bellhop.results"

    pod: str
    verdicts: list[Verdict]

    @classmethod
    def subject_of(cls, dispatcher: str) -> str:
        """Return where one dispatcher hears verdicts."""
        return f"{cls.subject}.{dispatcher}"

    #: Where whichever dispatcher is up hears them.
    anybody: ClassVar[str] = "bellhop.results.any"


class BodyWanted(Word, frozen=True, kw_only=True):
    """Ask any dispatcher for *length* bytes of a leased job's body (request).

    The answer is the bytes themselves from *offset* on, or nothing when the lease is
    gone, or the body is not any more what it was when the job was claimed (*digest*):
    so its pieces are of one body, whichever dispatchers give them.
    """

    subject = "bellhop.bodies"

    job_id: str
    lease_id: str
    offset: Whole
    length: Whole
    digest: str = ""


# --- events ------------------------------------------------------------------------


class JobChanged(Word, frozen=True, kw_only=True):
    """A transition of one job (event); one row of the journal.

    *id* is the row's number and the message id: who has seen it may forget a second
    one.  *position* says where it stands among all events (`position`), and *after*
    where the one before it does, whosever that is: who was told another one last has
    missed some.  *type* is ``job.<transition>``; *details* is what the transition has
    to tell, e.g. the error of a failed attempt.  *tags* are the producer's, unless they
    are larger than 4 KiB.
    """

    subject = "bellhop.events"

    id: str
    position: str = ""
    after: str = ""
    type: str
    time: str
    organization_id: str
    queue_name: str
    job_id: str
    job_type: str | None = None
    tags: msgspec.Raw = NULL
    attempt: int
    priority: int = 0
    actor: str | None = None
    details: msgspec.Raw = NULL

    @property
    def transition(self) -> Transition:
        """What happened, without the ``job.`` before it."""
        return Transition(self.type.removeprefix("job."))

    @property
    def tag_names(self) -> frozenset[str]:
        """What it may be asked for by: strings in a list, names in an object."""
        try:
            tags = msgspec.json.decode(self.tags)
        except _NO_JSON:
            return frozenset()
        if isinstance(tags, str):
            return frozenset({tags})
        listed = tags if isinstance(tags, list | dict) else ()
        return frozenset(tag for tag in listed if isinstance(tag, str))

    def subject_of_this(self) -> str:
        """Return ``bellhop.events.<org>.<queue>.<job>.<transition>``."""
        return (
            f"{self.subject}.{self.organization_id}.{token(self.queue_name)}."
            f"{self.job_id}.{self.type.removeprefix('job.')}"
        )


class ResourceChanged(Word, frozen=True, kw_only=True):
    """Something happened to what is no job (event); one row of the notices.

    *resource* is what kind of thing it is: worker, queue, schedule, workflow or
    endpoint; *type* is ``<resource>.<what happened>``.  *id*, *position* and *after*
    are as a `JobChanged` has them; no two events share an id.  *queue_name* is the
    queue that it is about, if it is about one.
    """

    subject = "bellhop.events"

    id: str
    position: str = ""
    after: str = ""
    type: str
    time: str
    organization_id: str
    resource: str
    resource_id: str
    queue_name: str | None = None
    data: msgspec.Raw = NULL

    def subject_of_this(self) -> str:
        """Return ``bellhop.events.<org>.@<resource>.<id>.<what happened>``.

        No token of a queue's name has an ``@``.
        """
        what = self.type.removeprefix(f"{self.resource}.")
        return (
            f"{self.subject}.{self.organization_id}.@{token(self.resource)}."
            f"{token(self.resource_id)}.{token(what)}"
        )


#: What stands in the event stream.
Event = JobChanged | ResourceChanged


class _Typed(msgspec.Struct):
    type: str


_TYPED: Final = msgspec.json.Decoder(_Typed)


def read_event(data: bytes) -> Event:
    """Read what stands in the event stream; raises `Unreadable`."""
    try:
        type_ = _TYPED.decode(data).type
    except _NO_JSON as error:
        raise Unreadable(f"event: {error}") from error
    word = JobChanged if type_.startswith("job.") else ResourceChanged
    event = word.decode(data)
    # Not by the shape: there it would take as long as all the rest.
    for text in (event.position, event.after):
        if text and not is_position(text):
            raise Unreadable(f"{word.__name__}: {text[:50]!r} is no position")
    return event


# --- streams -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream stream as we want it to be."""

    name: str
    subjects: tuple[str, ...]
    #: On disk, or in memory: what may be lost with the server need not be written.
    durable: bool
    #: Whether a message goes when it is acknowledged, or stays for other readers.
    work_queue: bool
    age_max: timedelta
    bytes_max: int
    duplicate_window: timedelta


#: Batches on their way to a pod.  What nobody took by then, the lease brings back.
WORK: Final = Stream(
    name="BELLHOP_WORK",
    subjects=(AttemptDeliveries.subject,),
    durable=False,
    work_queue=True,
    age_max=timedelta(seconds=3),
    bytes_max=512 * 1024 * 1024,
    duplicate_window=timedelta(seconds=3),
)
WORK_CONSUMER: Final = "bellhop-work-delivery"

EVENTS: Final = Stream(
    name="BELLHOP_EVENTS",
    subjects=(f"{JobChanged.subject}.>",),
    durable=True,
    work_queue=False,
    age_max=timedelta(days=3),
    bytes_max=1024 * 1024 * 1024,
    duplicate_window=timedelta(minutes=2),
)
