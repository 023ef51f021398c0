"""What an adapter is asked to do, and what it tells: JSON, the same for any language.

A plan says to do one of::

    setup      make the peer's tables
    enqueue    create jobs, one a call, so many callers at once
    bulk       create jobs, so many a call
    work       handle jobs until the process is ended

What it tells while it works is a *tally*, a file of 16 bytes: how many jobs it has
handled, and when the first began (`time.monotonic`, as everywhere in `bench`).  A
*clock* adds what each job took, from its stamp on, to a file beside it.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

TALLY: Final = struct.Struct("=qd")
WAIT: Final = struct.Struct("=d")
#: The field of a payload that says when it was sent.
STAMP: Final = "sent_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, and how the peer is to be set for it."""

    do: str
    #: Where the peer keeps its jobs.
    url: str
    #: The peer's own knobs: see `bench.peers.roster`.
    settings: Mapping[str, Any] = field(default_factory=dict)

    # --- enqueue and bulk: for so many seconds, or so many jobs ---
    payloads: list[dict[str, Any]] = field(default_factory=list)
    callers: int = 1
    batch: int = 1
    seconds: float = 1e9
    jobs: int = 10**9
    #: Calls a second; None calls as fast as answers come.
    rate: float | None = None
    #: Whether each payload says when it was sent.
    stamped: bool = False
    #: Where to note which job was accepted when (see `bench.records`).
    records: str = ""

    # --- work ---
    #: "nothing", "webhook" or "clock".
    handler: str = "nothing"
    sink: str = ""
    secret: str = ""
    tally: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of it; of a set-up only the peer's version."""

    version: str = ""
    jobs: int = 0
    seconds: float = 0.0
    #: Of a call.
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_seconds: float = 0.0


def waits_beside(tally: Path) -> Path:
    """Return where a clock notes what jobs took."""
    return tally.with_suffix(".waits")
