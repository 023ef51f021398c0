"""A receiver that notes, for each key, who came when, and who came beside another."""

import asyncio
import json
import random
from itertools import groupby
from typing import Final

from tests.support.endpoint import Received

_THINKS_SECONDS: Final = 0.004


class Takers:
    """The plan of an `Endpoint`; a body says whose ``key`` it is, or nobody's."""

    def __init__(self, *, fails: float = 0.0) -> None:
        """Fail that part of the requests, by luck."""
        self._fails = fails
        self._luck = random.Random(7)
        self._at_work: dict[object, set[str]] = {}
        #: The ids of the requests of each key, as they came.
        self.came: dict[object, list[str]] = {}
        #: Those that came while another job of the same key was at work.
        self.beside: list[tuple[object, str]] = []

    async def __call__(self, received: Received) -> int:
        key = json.loads(received.body).get("key")
        at_work = self._at_work.setdefault(key, set())
        if at_work - {received.id}:
            self.beside.append((key, received.id))
        self.came.setdefault(key, []).append(received.id)
        at_work.add(received.id)
        await asyncio.sleep(_THINKS_SECONDS)
        at_work.discard(received.id)
        return 500 if self._luck.random() < self._fails else 200

    def order(self, key: object = None) -> list[str]:
        """Return the jobs of a key in the order of their coming, each try once."""
        return [id_ for id_, _ in groupby(self.came.get(key, []))]
