"""The ceiling of delivering: aiohttp, a signature a request, and no more.

``python -m bench.bare_client PLAN RESULT`` (JSON files, see `Plan` and `Result`).
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from bench.bodies import payload
from libs.common.ids import new_id
from services.delivery.signature import Signer, Symmetric


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and where to."""

    url: str
    requests: int
    connections: int = 64

    @property
    def each(self) -> int:
        """How many requests each connection makes."""
        return max(self.requests // self.connections, 1)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How fast that was, and what it cost."""

    rate: float
    cpu_seconds_each: float


async def post(http: aiohttp.ClientSession, plan: Plan, signer: Signer) -> None:
    """Post one connection's share of the requests."""
    body = json.dumps(payload(1)).encode()
    for _ in range(plan.each):
        id_, now = str(new_id()), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": str(now),
            "webhook-signature": signer.sign(id_, now, body),
        }
        async with http.post(plan.url, data=body, headers=headers) as answer:
            await answer.read()


async def post_all(plan: Plan) -> Result:
    """Post everything over so many connections."""
    signer = Signer([Symmetric(b"a secret of thirty-two bytes ...")])
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(
            *(post(http, plan, signer) for _ in range(plan.connections))
        )
        posted = plan.each * plan.connections
        return Result(
            rate=posted / (time.monotonic() - began),
            cpu_seconds_each=(time.process_time() - cpu) / posted,
        )


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    result.write_bytes(msgspec.json.encode(uvloop.run(post_all(asked))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
