"""What the load generator and the sink note of each job, and how they say it.

Times are `time.monotonic`, which all processes of a machine share.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ARRIVAL = struct.Struct("=16sd")
_CREATED = struct.Struct("=16sdd")


class Created(NamedTuple):
    """A job as its producer saw it: when it was sent, and when it was accepted."""

    job_id: bytes
    sent: float
    accepted: float


def pack_arrivals(arrivals: dict[bytes, float]) -> bytes:
    """Return arrivals (id as text → time) as bytes."""
    return b"".join(_ARRIVAL.pack(id_bytes(text), at) for text, at in arrivals.items())


def unpack_arrivals(data: bytes) -> dict[bytes, float]:
    """Return when each job (16 bytes) arrived first."""
    return dict(_ARRIVAL.iter_unpack(data))


def write_created(path: Path, created: Sequence[tuple[bytes, float, float]]) -> None:
    """Write what was created, ids as text."""
    path.write_bytes(
        b"".join(
            _CREATED.pack(id_bytes(text), sent, accepted)
            for text, sent, accepted in created
        )
    )


def read_created(path: Path) -> list[Created]:
    """Read what was created."""
    return [Created(*row) for row in _CREATED.iter_unpack(path.read_bytes())]


def id_bytes(text: bytes) -> bytes:
    """Return a UUID's text as its 16 bytes."""
    return bytes.fromhex(text.decode().replace("-", ""))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def milliseconds(values: Sequence[float], share: float) -> float:
    """Return a percentile of seconds, in milliseconds."""
    return round(percentile(values, share) * 1000, 2)
