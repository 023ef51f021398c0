"""Errors: one shape for every refusal, and the same as RFC 9457 has it (contract 1.0).

Clients go by ``code``; ``message`` is for people.  Which members besides are there
depends on the code.
"""

from datetime import datetime
from typing import NotRequired

from typing_extensions import TypedDict


class FieldFault(TypedDict):
    """One field that is at fault, in words and as a code."""

    field: str
    message: str
    code: str


class Refusal(TypedDict):
    """What is wrong.  ``code`` is the stable part."""

    code: str
    message: str
    error: str
    #: Fields at fault.
    details: NotRequired[list[FieldFault]]
    #: Of a quota: what is counted, how many there are, how many there may be.
    resource: NotRequired[str]
    current: NotRequired[int]
    limit: NotRequired[int]
    plan: NotRequired[str]
    #: Of a quota: the next tier up; of a payload: whether there is one.
    upgrade_to: NotRequired[str | bool]
    #: Of a rate limit: when there is room again.
    retry_after_secs: NotRequired[int]
    remaining: NotRequired[int]
    reset_at: NotRequired[datetime]


class Problem(Refusal):
    """The same as ``application/problem+json``, for who asks for it in ``Accept``."""

    type: str
    title: str
    status: int
    detail: str
    #: The id of the request that it happened to.
    instance: str
