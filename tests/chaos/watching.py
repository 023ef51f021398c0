"""Watchers of a run: what each should have seen, and what it saw.

One follows each organization's events through the streamers, and goes on where it was
cut off.  Another is a program of somebody else's that reads the stream itself.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from tests.chaos.history import History
from tests.support.followers import (
    EventStreamFollower,
    Subscriber,
    position_of,
    told_of,
)
from tests.support.house import Tenant
from tests.support.waiting import until

Position = tuple[int, int]


@dataclass
class Watcher(EventStreamFollower):
    """Keeps the positions, and no bodies: a run is long."""

    seen: set[Position] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    #: Where and behind what it was connected last.
    behind: tuple[str, str | None] = ("", None)
    #: mark → by which connection it came first, and when
    _marks: dict[str, tuple[int, float]] = field(default_factory=dict)
    _last: dict[str, Position] = field(
        default_factory=lambda: defaultdict(lambda: (0, 0))
    )

    async def connect(self, http, url):
        """Note where it goes on."""
        self.behind = url, self.last
        await super().connect(http, url)

    def take(self, mark, envelope):
        """Note one frame."""
        super().take(mark, envelope)
        while self.frames:
            mark, _, data = self.frames.pop()
            position = position_of(mark)
            self.seen.add(position)
            here = self.connections, time.monotonic()
            if mark in self._marks:
                first, at = self._marks[mark]
                self.complaints.append(
                    f"{mark} came twice: by connection {first} at {at:.3f},"
                    f" by {here[0]} at {here[1]:.3f}, which began behind {self.behind}"
                )
            self._marks.setdefault(mark, here)
            job = data.get("job_id")
            if job is not None:
                # The numbers are drawn when a transition happens.
                if position < self._last[job]:
                    self.complaints.append(f"{mark} of {job} came late")
                self._last[job] = position
        if self.lost:
            self.complaints.append(f"events were lost: {self.lost}")
            self.lost.clear()


@dataclass
class Reader(Subscriber):
    """Keeps the numbers of what it read from the stream, of all organizations."""

    seen: set[int] = field(default_factory=set)

    def take(self, id_, _):
        """Note one event."""
        self.seen.add(int(id_))


class Watching:
    """All watchers of a run."""

    def __init__(
        self, tenants: Iterable[Tenant], urls: list[str], nats_url: str, seed: int
    ) -> None:
        self._tenants = list(tenants)
        self.watchers = [
            Watcher(urls, tenant.api_key, random.Random(f"{seed} {number}"))
            for number, tenant in enumerate(self._tenants)
        ]
        self.reader = Reader(nats_url, "*")

    async def have_begun(self) -> None:
        """Wait until each has a place to go on from."""
        await until(lambda: all(one.last for one in self.watchers), at_most=60)

    async def unseen(
        self, conn: asyncpg.Connection, history: History
    ) -> dict[str, list[Position]]:
        """Return what each should have seen by now, and has not."""
        missing: dict[str, list[Position]] = {}
        for number, (tenant, watcher) in enumerate(
            zip(self._tenants, self.watchers, strict=True)
        ):
            expected = await told_of(conn, tenant.id)
            missing[f"watcher {number}"] = sorted(expected.keys() - watcher.seen)
        # What was on a stream that was wiped had been there, and is to be read no more.
        wiped = max(
            ((note["xid"], note["seq"]) for note in history.of("wiped")),
            default=(0, 0),
        )
        rows = await conn.fetch(
            "SELECT xid::text AS xid, seq FROM journal"
            " UNION ALL SELECT xid::text, seq FROM notices"
        )
        announced = {(int(row["xid"]), row["seq"]) for row in rows}
        missing["reader"] = sorted(
            position
            for position in announced
            if position > wiped and position[1] not in self.reader.seen
        )
        return {name: positions for name, positions in missing.items() if positions}
