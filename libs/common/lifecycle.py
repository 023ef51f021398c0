"""The life of a job, as data: a job's state is the table it stands in.

::

    created ──▶ scheduled ──due──▶ ready ──started──▶ leased ──completed──▶ finished
      │             ▲                ▲ ▲                │ │ │
      ├─────────────│────────────────┘ └─ released, ────┘ │ └─ deadlettered, ─▶ dead
      │             │                     recovered       │    quarantined       │
      │             └───────────── retrying ──────────────┘                      │
      └──▶ waiting, held ──unblocked──▶ ready ◀──────────── requeued ────────────┤
                                        held  ◀──────────── (it has a line) ─────┘

    ready, scheduled, held ──blocked──▶ waiting ──unblocked──▶ ready, scheduled, held
    held ──unblocked──▶ scheduled: its turn has come before its time
    ready ──held──▶ held ──unblocked──▶ ready: its endpoint is disabled, then enabled
    scheduled, ready, waiting, held, leased ──cancelled, expired──▶ finished
    scheduled, ready, waiting, held ──reprioritized──▶ the same place
    dead, finished (not completed) ──requeued──▶ ready, waiting, held: its workflow is
    retried

`MOVES` is the only list of the legal moves.  The statements in ``store/`` perform
them, one statement a move; every move leaves one row in ``journal`` under the name
it has here.  The model tests prove that the store performs these and no others.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Place(StrEnum):
    """The tables a job can stand in; it is in exactly one."""

    READY = "ready"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    HELD = "held"
    LEASED = "leased"
    FINISHED = "finished"
    DEAD = "dead"


class Transition(StrEnum):
    """What can happen to a job; the names stand in ``journal`` and on the bus."""

    CREATED = "created"
    DUE = "due"
    HELD = "held"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    REPRIORITIZED = "reprioritized"
    STARTED = "started"
    COMPLETED = "completed"
    RETRYING = "retrying"
    DEADLETTERED = "deadlettered"
    RELEASED = "released"
    RECOVERED = "recovered"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REQUEUED = "requeued"
    PURGED = "purged"


class Status(StrEnum):
    """What the API calls a job's state (contract 4.1)."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DEADLETTER = "deadletter"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


#: Nowhere: before a job is created and after it is purged.
NOWHERE: Final = None

_OPEN = (Place.READY, Place.SCHEDULED, Place.WAITING, Place.HELD)

_RESTARTS = (
    (Place.DEAD, Place.WAITING),
    (Place.FINISHED, Place.READY),
    (Place.FINISHED, Place.WAITING),
    (Place.FINISHED, Place.HELD),
)

#: transition → the legal (from, to) pairs.
MOVES: Final[Mapping[Transition, frozenset[tuple[Place | None, Place | None]]]] = (
    MappingProxyType(
        {
            Transition.CREATED: frozenset((NOWHERE, place) for place in _OPEN),
            Transition.DUE: frozenset({(Place.SCHEDULED, Place.READY)}),
            Transition.HELD: frozenset({(Place.READY, Place.HELD)}),
            Transition.BLOCKED: frozenset(
                {
                    (Place.READY, Place.WAITING),
                    (Place.SCHEDULED, Place.WAITING),
                    (Place.HELD, Place.WAITING),
                }
            ),
            Transition.UNBLOCKED: frozenset(
                {
                    (Place.WAITING, Place.READY),
                    (Place.WAITING, Place.SCHEDULED),
                    (Place.WAITING, Place.HELD),
                    (Place.HELD, Place.READY),
                    (Place.HELD, Place.SCHEDULED),
                }
            ),
            Transition.REPRIORITIZED: frozenset((place, place) for place in _OPEN),
            Transition.STARTED: frozenset({(Place.READY, Place.LEASED)}),
            Transition.COMPLETED: frozenset({(Place.LEASED, Place.FINISHED)}),
            Transition.RETRYING: frozenset({(Place.LEASED, Place.SCHEDULED)}),
            Transition.DEADLETTERED: frozenset({(Place.LEASED, Place.DEAD)}),
            Transition.RELEASED: frozenset({(Place.LEASED, Place.READY)}),
            Transition.RECOVERED: frozenset({(Place.LEASED, Place.READY)}),
            Transition.QUARANTINED: frozenset({(Place.LEASED, Place.DEAD)}),
            Transition.CANCELLED: frozenset(
                (place, Place.FINISHED) for place in (*_OPEN, Place.LEASED)
            ),
            Transition.EXPIRED: frozenset(
                (place, Place.FINISHED) for place in (*_OPEN, Place.LEASED)
            ),
            Transition.REQUEUED: frozenset(
                {(Place.DEAD, Place.READY), (Place.DEAD, Place.HELD), *_RESTARTS}
            ),
            Transition.PURGED: frozenset({(Place.DEAD, NOWHERE)}),
        }
    )
)

#: Moves that only a workflow makes that is retried: what failed or was cancelled in it
#: starts over.
RESTARTS: Final[frozenset[tuple[Transition, Place, Place]]] = frozenset(
    (Transition.REQUEUED, *move) for move in _RESTARTS
)

#: How often a process may die under a job before the job is quarantined (promise 5).
CRASHES_MAX: Final = 3
