"""Every error that may cross the door of a service.

* BellhopError
  x Rejected            the caller is wrong; retrying cannot help
    + Malformed         the request cannot be read or breaks a rule
    + Unauthorized      nobody we know
      - NotAdmin        not the administrator
    + Forbidden         somebody we know, but not for this
      - FeatureDisabled not in the plan, or not in this house
    + NotFound          no such thing, or not yours
    + Conflict          such a thing, but not in that state
      - LeaseExpired    the job is not, or no longer, in your hands
    + TooLarge          more than we carry
      - PayloadOverPlan more than the plan carries
    + QuotaExceeded     as many as the plan allows; waiting does not help
    + RateLimited       too fast; waiting helps
    + LoopDetected      what we sent comes back to us, again and again
  x Transient           the world is wrong; retrying may help
    + Unavailable       Postgres or NATS does not answer

Edges translate: inward, what Postgres and NATS say (``borrow``, ``Bus``); outward,
what we say (HTTP status, gRPC code).  The middle only raises.  Anything else is a
bug: it ends the actor it happens in, and is logged with its traceback.
"""

from dataclasses import dataclass
from datetime import datetime


class BellhopError(Exception):
    """Whatever we say is wrong, in one family."""


class Rejected(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """The caller is wrong; retrying the same cannot help."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: which field, in words, and as a code."""

    field: str
    message: str
    code: str = "invalid"


class Malformed(Rejected):
    """A request that cannot be read or breaks a rule.

    *faults* names the fields; *unreadable* says that the shape is wrong (a field is
    missing or of another type) and not only its value: HTTP 422 instead of 400.
    """

    def __init__(self, *faults: Fault, unreadable: bool = False) -> None:
        super().__init__("; ".join(f"{f.field}: {f.message}" for f in faults))
        self.faults = faults
        self.unreadable = unreadable


class Unauthorized(Rejected):
    """The credential is missing, unknown, expired or revoked."""


class NotAdmin(Unauthorized):
    """The admin key is missing or wrong; *reason* is the word for it (contract 1.0)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(Rejected):
    """The credential is good, but not for this."""


class FeatureDisabled(Forbidden):
    """The organization's plan, or this house, does not have this at all."""


class NotFound(Rejected):
    """No such thing, or it belongs to somebody else: we do not say which."""


class Conflict(Rejected):
    """The thing exists, but not in a state that allows this."""


class LeaseExpired(Conflict):
    """The job is not, or no longer, in the hands of who wants to settle it.

    Its words are the contract's (1.0, 4.2): clients go by them.
    """


class TooLarge(Rejected):
    """The body is larger than we carry."""


class PayloadOverPlan(TooLarge):
    """The payload is larger than the organization's plan carries (sizes in bytes)."""

    def __init__(self, *, current: int, limit: int, plan: str) -> None:
        super().__init__(f"payload size limit reached ({current}/{limit} bytes)")
        self.current = current
        self.limit = limit
        self.plan = plan


class LoopDetected(Rejected):
    """What we delivered came back to us, was delivered, and so on."""


class QuotaExceeded(Rejected):
    """The organization has as many as its plan allows.

    *resource* is one of the contract's (1.0): ``jobs_per_day``, ``active_jobs``,
    ``queues``, ``workers``, ``api_keys``, ``schedules``, ``workflows``, ``webhooks``.
    *more* is how many were to be added at once.
    """

    def __init__(
        self,
        *,
        resource: str,
        current: int,
        limit: int,
        plan: str,
        upgrade_to: str | None,
        more: int = 1,
    ) -> None:
        words = f"{resource} limit reached ({current}/{limit})."
        if upgrade_to is not None:
            words += f" Upgrade to {upgrade_to} for higher limits."
        if more > 1:
            words += f" {more} more do not fit."
        super().__init__(words)
        self.resource = resource
        self.current = current
        self.limit = limit
        self.plan = plan
        self.upgrade_to = upgrade_to


class RateLimited(Rejected):
    """The caller is too fast: *scope* (org, key, ip, …) is what is counted.

    *limit* is how many may come at once, after *window_seconds* without any.
    """

    def __init__(
        self,
        *,
        scope: str,
        limit: int,
        retry_after_seconds: float,
        reset_at: datetime,
        window_seconds: int = 60,
    ) -> None:
        super().__init__("Rate limit exceeded")
        self.scope = scope
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        self.reset_at = reset_at
        self.window_seconds = window_seconds


class Transient(BellhopError):  # noqa: N818
    """The world is wrong; trying again later may help."""


class Unavailable(Transient):
    """Postgres or NATS does not answer."""
