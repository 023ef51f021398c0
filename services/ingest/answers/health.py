"""How the service is (contract 1.1)."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class HealthReport(TypedDict):
    """What answers and what does not."""

    status: Literal["healthy", "degraded"]
    database: bool
    #: Always true: there is no cache that could be away.
    cache: bool
    bus: bool
    #: Not said in production.
    version: NotRequired[str]
