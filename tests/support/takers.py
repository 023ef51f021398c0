"""A receiver that notes, for each path, who came when, and who came beside another."""

import asyncio
import random
from itertools import groupby
from typing import Final

from tests.support.endpoint import Received

_THINKS_SECONDS: Final = 0.004


class Takers:
    """The plan of an `Endpoint`: paths stand for keys."""

    def __init__(self, *, fails: float = 0.0) -> None:
        """Fail that part of the requests, by luck."""
        self._fails = fails
        self._luck = random.Random(7)
        self._at_work: dict[str, set[str]] = {}
        #: The ids of the requests to each path, as they came.
        self.came: dict[str, list[str]] = {}
        #: Those that came while another job of the same path was at work.
        self.beside: list[tuple[str, str]] = []

    async def __call__(self, received: Received) -> int:
        at_work = self._at_work.setdefault(received.path, set())
        if at_work - {received.id}:
            self.beside.append((received.path, received.id))
        self.came.setdefault(received.path, []).append(received.id)
        at_work.add(received.id)
        await asyncio.sleep(_THINKS_SECONDS)
        at_work.discard(received.id)
        return 500 if self._luck.random() < self._fails else 200

    def order(self, path: str) -> list[str]:
        """Return the jobs of a path in the order of their coming, each try once."""
        return [id_ for id_, _ in groupby(self.came.get(path, []))]
