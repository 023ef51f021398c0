"""Why a worker was told no: the fencing table of contract 4.2 (pure).

The words are the contract's: clients go by them.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from libs.common.errors import (
    BellhopError,
    Conflict,
    LeaseExpired,
    NotFound,
    Unavailable,
)
from libs.common.ids import parse_id
from libs.common.lifecycle import Place
from libs.common.store.settlement import Standing

MISMATCH: Final = (
    "lease_id does not match the job's current lease; this worker no longer holds it"
)
EXPIRED_COMPLETING: Final = "Job lease expired before completion"
EXPIRED_FAILING: Final = "Job lease expired before failure was reported"
EXPIRED_RENEWING: Final = "Job lease expired and cannot be extended"
UNKNOWN: Final = "Job not found or not authorized"


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who says to hold a job; *lease_id* as it was given, or None."""

    worker_id: str
    lease_id: str | None

    @property
    def lease(self) -> UUID | None:
        """The lease that was named; None for none, or for what cannot be one."""
        return None if self.lease_id is None else parse_id(self.lease_id)

    @property
    def readable(self) -> bool:
        """Whether a lease was named that can be one, or none was."""
        return self.lease_id is None or self.lease is not None


def refusal(
    claimant: Claimant, standing: Standing | None, *, expired: str
) -> BellhopError:
    """Return why *claimant* does not hold the job that stands so.

    *expired* is what to say when its time was over.
    """
    if standing is None:
        return NotFound(UNKNOWN)
    if standing.place in (Place.FINISHED, Place.DEAD):
        return Conflict(f"Job is already {standing.status}")
    if standing.place == Place.LEASED:
        return _leased(claimant, standing, expired=expired)
    if standing.had:
        # It was this worker's once: meanwhile it went back into the line.
        return LeaseExpired(expired)
    if claimant.lease_id is not None and standing.attempt > 0:
        return LeaseExpired(MISMATCH)
    return NotFound(UNKNOWN)


def _leased(claimant: Claimant, standing: Standing, *, expired: str) -> BellhopError:
    named = claimant.lease_id is not None
    if standing.owner != claimant.worker_id:
        return LeaseExpired(MISMATCH) if named else NotFound(UNKNOWN)
    if named and claimant.lease != standing.lease_id:
        return LeaseExpired(MISMATCH)
    if not standing.live:
        return LeaseExpired(expired)
    # It came back to this very worker between our two looks.
    return Unavailable("the job moved while it was looked at; try again")
