"""Every error that may cross the door of a service.

* BellhopError
  x Rejected            the caller is wrong; retrying cannot help
    + Malformed         the request cannot be read or breaks a rule
    + Unauthorized      nobody we know
    + Forbidden         somebody we know, but not for this
    + NotFound          no such thing, or not yours
    + Conflict          such a thing, but not in that state
    + TooLarge          more than we carry
  x Transient           the world is wrong; retrying may help
    + Unavailable       Postgres or NATS does not answer

Edges translate: inward, what Postgres and NATS say (``borrow``, ``Bus``); outward,
what we say (HTTP status, gRPC code).  The middle only raises.  Anything else is a
bug: it ends the actor it happens in, and is logged with its traceback.
"""

from dataclasses import dataclass


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


class Forbidden(Rejected):
    """The credential is good, but not for this."""


class NotFound(Rejected):
    """No such thing, or it belongs to somebody else: we do not say which."""


class Conflict(Rejected):
    """The thing exists, but not in a state that allows this."""


class TooLarge(Rejected):
    """The body is larger than we carry."""


class Transient(BellhopError):  # noqa: N818
    """The world is wrong; trying again later may help."""


class Unavailable(Transient):
    """Postgres or NATS does not answer as it should."""
