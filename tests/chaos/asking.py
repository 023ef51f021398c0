"""A client that never gives up: it asks again, at any replica, until it is answered."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.history import History
from tests.support.house import Tenant

_PAUSE_SECONDS: Final = 0.2
_ANSWER_SECONDS: Final = 40.0
#: How many may ask again and again before nothing more is handed in.  Where a plan has
#: no room, they would be more and more, and nobody else would get through.
_WAITING_MAX: Final = 100


@dataclass(frozen=True)
class Answer:
    """What was answered, and when the request that was answered was sent."""

    status: int
    body: Any
    asked_at: float


@dataclass
class Client:
    """One organization's way to the API, through whichever replica chance has."""

    tenant: Tenant
    urls: list[str]
    http: aiohttp.ClientSession
    history: History
    luck: random.Random
    #: Set when it is no use to ask again.
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: int = 0

    @property
    def has_enough(self) -> bool:
        """Whether so many wait for an answer that there should be no more."""
        return self._waiting >= _WAITING_MAX

    async def once(self, method: str, path: str, body: Any) -> Answer | None:
        """Ask once; None when there was no answer, or only that there is none now."""
        asked_at = time.monotonic()
        try:
            async with self.http.request(
                method,
                f"{self.luck.choice(self.urls)}/api/v1{path}",
                headers=self.tenant.headers,
                json=body,
                timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
            ) as answer:
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.history.counts[f"unanswered: {type(error).__name__}"] += 1
            return None
        if answer.status >= 400:
            code = said.get("code") if isinstance(said, dict) else said
            self.history.counts[f"answered {answer.status} {code}"] += 1
        if answer.status == 503 and "Retry-After" not in answer.headers:
            self.history.note("503 without Retry-After", path=path)
        if answer.status >= 500 and answer.status != 503:
            self.history.note("bug", says=f"{answer.status} from {method} {path}")
            return None
        # 408: it cannot be said whether it was carried out.
        if answer.status in {408, 429, 503}:
            return None
        return Answer(answer.status, said, asked_at)

    async def surely(self, method: str, path: str, body: Any) -> Answer | None:
        """Ask until there is an answer; None when all was over before there was one."""
        self._waiting += 1
        try:
            while not self.over.is_set():
                answer = await self.once(method, path, body)
                if answer is not None:
                    return answer
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._waiting -= 1
        return None
