"""How an attempt reaches a receiver that has no address: somebody listens for it.

An endpoint whose URL is at `HOST` is not connected to.  Delivery asks on
``bellhop.listeners.<org>.<endpoint>`` (request), and whichever ingest holds a
connection of somebody who listens for that endpoint passes the request on, and what was
answered back.  The name can never be looked up (RFC 2606), so whoever does not know it
finds that there is no such receiver.
"""

from typing import ClassVar, Final

import msgspec

HOST: Final = "listen.bellhop.invalid"
URL: Final = f"https://{HOST}/"
_SUBJECT: Final = "bellhop.listeners"


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it would be written; *seconds* is how long there is for an answer.

    *path* has the query.  *headers* are all but those that belong to a connection.
    """

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    seconds: float


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered; or why there was no answer, *error*, and then no status.

    *body* is the beginning of the answer's, at most `BODY_BYTES_MAX`.
    """

    BODY_BYTES_MAX: ClassVar[int] = 16 * 1024

    status: int | None = None
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    error: str | None = None


def subject_of(organization_id: str, endpoint_id: str) -> str:
    """Return where it is asked who listens for an endpoint."""
    return f"{_SUBJECT}.{organization_id}.{endpoint_id}"
