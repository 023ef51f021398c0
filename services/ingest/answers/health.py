"""How the service is (contract 1.1)."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class HealthReport(TypedDict):
    """What answers and what does not."""

    status: Literal["healthy", "degraded"]
    """Degraded when any of these is false."""
    database: bool
    """Whether PostgreSQL answers."""
    cache: bool
    """Always true: there is no cache that could be away."""
    bus: bool
    """Whether NATS answers."""
    version: NotRequired[str]
    """Not said in production."""
