"""What an adapter's jobs do: nothing, post a signed webhook, or note what they took."""

import asyncio
import hmac
import json
import os
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from bench.peers.plans import STAMP, TALLY, WAIT, Plan, waits_beside
from bench.peers.producing import webhook_id

#: Given the job's id and its payload, as what the peer keeps it in.
Handle = Callable[[object, Any], Awaitable[None]]

_TALLY_SECONDS = 0.02


class Handler:
    """Handles jobs, and keeps the tally of them."""

    def __init__(self, plan: Plan) -> None:
        self._tally = Path(plan.tally)
        self._sink = plan.sink
        self._key = b64decode(plan.secret.removeprefix("whsec_"))
        self._does: Handle = {
            "nothing": self._nothing,
            "webhook": self._webhook,
            "clock": self._clock,
        }[plan.handler]
        self._handled = 0
        self._first = 0.0

    async def __aenter__(self) -> Self:
        """Open what is needed, and begin to keep the tally."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._waits = waits_beside(self._tally).open("wb", buffering=0)
        # A thread: it tells in time, whatever keeps the loop busy.
        threading.Thread(target=self._tell, daemon=True).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._waits.close()
        await self._http.close()

    async def handle(self, job_id: object, payload: Any) -> None:
        """Handle a job; raises `RuntimeError` when its webhook is refused."""
        if not self._first:
            self._first = time.monotonic()
        await self._does(job_id, payload)
        self._handled += 1

    async def _nothing(self, job_id: object, payload: Any) -> None:
        pass

    async def _webhook(self, job_id: object, payload: Any) -> None:
        if isinstance(payload, bytes):
            body = payload
        else:
            body = json.dumps(payload, separators=(",", ":")).encode()
        id_, now = webhook_id(job_id), str(int(time.time()))
        signed = hmac.digest(self._key, f"{id_}.{now}.".encode() + body, "sha256")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": now,
            "webhook-signature": f"v1,{b64encode(signed).decode()}",
        }
        async with self._http.post(self._sink, data=body, headers=headers) as answer:
            await answer.read()
            if not answer.ok:
                raise RuntimeError(f"the sink said {answer.status}")

    async def _clock(self, _: object, payload: Any) -> None:
        now = time.monotonic()
        known = json.loads(payload) if isinstance(payload, bytes) else payload
        self._waits.write(WAIT.pack(now - known[STAMP]))

    def _tell(self) -> None:
        told = -1
        with self._tally.open("wb", buffering=0) as file:
            while True:
                handled = self._handled
                if handled != told:
                    os.pwrite(file.fileno(), TALLY.pack(handled, self._first), 0)
                    told = handled
                time.sleep(_TALLY_SECONDS)


async def for_ever() -> None:
    """Wait until the process is ended."""
    await asyncio.Event().wait()
