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
    """The path to it, with dots: ``jobs.0.priority``."""
    message: str
    """What is wrong, for people."""
    code: str
    """What is wrong, for programs."""


class Refusal(TypedDict):
    """What is wrong.  ``code`` is the stable part."""

    code: str
    """What is wrong, for programs: the stable part."""
    message: str
    """What is wrong, for people."""
    error: str
    """The code in lower case, or words, as clients expect."""
    details: NotRequired[list[FieldFault]]
    """The fields at fault."""
    resource: NotRequired[str]
    """Of a quota: what is counted."""
    current: NotRequired[int]
    """Of a quota: how many there are. Of a payload: its bytes."""
    limit: NotRequired[int]
    """Of a quota: how many there may be. Of a payload: how many bytes."""
    plan: NotRequired[str]
    """Of a quota: the plan's tier."""
    upgrade_to: NotRequired[str | bool]
    """Of a quota: the next tier up. Of a payload: whether there is one."""
    retry_after_secs: NotRequired[int]
    """Of a rate limit: seconds until there is room again."""
    remaining: NotRequired[int]
    """Of a rate limit: requests that still fit."""
    reset_at: NotRequired[datetime]
    """Of a rate limit: when there is room again."""


class Problem(Refusal):
    """The same as ``application/problem+json``, for who asks for it in ``Accept``."""

    type: str
    """A URI that stands for the code."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """The same as ``message``."""
    instance: str
    """The id of the request that it happened to."""
