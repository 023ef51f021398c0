"""Jobs that take turns: a line is a key, and those that share it come one by one.

A job with a line (`Line`) joins it when it is created, and is held until it is called:
then it is ready like any other, or scheduled if it is for later still.  The turn is
the job's, not that of who works on it: it lasts through retries, releases and
processes that die, until the job has ended for good (completed, dead, cancelled,
expired, erased).  Whatever ends a job takes it out of its line in the same statement,
so that no turn can be lost with a process.

Inside a line there is only the order of coming; priority counts among jobs that are
ready.  A job for later takes its place when it is created, too, and those behind it
wait for its time.  A job that waits for other jobs stands in no line until it need not
any more, so that no two can wait for each other.  A dead letter that is requeued goes
to the end.

Who joins, and who leaves, notes the line in ``line_checks``, in the same statement;
then somebody looks: whoever did it, right after the commit, and the scheduler for
whoever could not.  A look is two statements of one transaction.  `look` takes a lock
for each line that was noted, and `call` decides with a view of its own, which is newer
than the locks.  Why that is right:

* Two decisions about one line are never made at once, and the later one sees what the
  earlier one did: the lock is held until the commit, and the view is taken after it.
  So never more are called than may be.
* A note is struck out only by a decision whose view is newer than the note, and so sees
  who joined or left.  So once the last note of a line has been struck out, either as
  many are called as may be, or nobody waits.
* A line that somebody else has locked is left to them, with its notes.  They look again
  when they have decided, until they find nothing: what was noted while they held the
  lock is there to be seen by then.  If they die before it, the scheduler looks.
* Positions may become visible out of order: of two who join at the same moment the
  later one may be called first.  Then the earlier one finds the turn taken, and is the
  next.  What is handed in after an answer has a higher position than what was answered.
* Who is called must still be held: `call` locks it there first, as does whoever cancels
  or expires it.  Whoever was faster moves the job, and the other finds nothing; who was
  taken out of the line so left a note of its own.
* Between the two statements nothing is written: a process that stands still there keeps
  others from these lines (30 s at most, then Postgres ends its session), and from
  nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "lines")


@dataclass(frozen=True, slots=True)
class Line:
    """What jobs share that take turns: a *key*, within a *scope*.

    How many are called at once is one, or what the scope's queue says
    (``concurrency_per_key``), read whenever somebody is to be called.
    """

    scope: str
    key: str

    @classmethod
    def of_queue(cls, organization_id: UUID, queue_name: str, key: str) -> "Line":
        """Return the line of a key of a queue."""
        return cls(f"queue:{organization_id}:{queue_name}", key)

    @classmethod
    def of_endpoint(cls, endpoint_id: UUID, key: str = "") -> "Line":
        """Return the line of an endpoint, or of an ordering key of its."""
        return cls(f"endpoint:{endpoint_id}", key)


@dataclass(frozen=True, slots=True)
class Check:
    """That somebody joined or left a line."""

    id: int
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class Called:
    """How many jobs were called, and the lanes in which jobs became ready."""

    called: int
    push_lanes: list[int]
    work_lanes: list[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """How a job stands in its line.

    *before*: how many that wait come before it (10 000 is so many or more).  *holders*
    are the first hundred of those whose turn it is.
    """

    scope: str
    key: str
    called: bool
    width: int
    before: int
    holders: list[UUID]


async def is_noted(conn: Conn) -> bool:
    """Return whether there is any line to look at; cheaper than to `look`."""
    return bool(await conn.fetchval(SQL["is_noted"]))


async def look(conn: Conn, *, limit: int) -> list[Check]:
    """Return up to *limit* notes of lines that are now locked for this transaction."""
    return [Check(*row) for row in await conn.fetch(SQL["look"], limit)]


async def call(conn: Conn, *, checks: Sequence[Check]) -> Called:
    """Call whose turn it is in the lines of *checks*, in the transaction of `look`."""
    lines = sorted({(check.scope, check.key) for check in checks})
    [row] = await conn.fetch(
        SQL["call"],
        [scope for scope, _ in lines],
        [key for _, key in lines],
        [check.id for check in checks],
    )
    return Called(**row)


async def recheck(conn: Conn, *, organization_id: UUID, queue_name: str) -> None:
    """Note the lines of a queue whose ``concurrency_per_key`` changed."""
    await conn.execute(SQL["recheck"], organization_id, queue_name)


async def read_turn(conn: Conn, *, job_id: UUID) -> Turn | None:
    """Return how a job stands in its line, or None when it stands in none."""
    row = await conn.fetchrow(SQL["read_turn"], job_id)
    return None if row is None else Turn(**row)
