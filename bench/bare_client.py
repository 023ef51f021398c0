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
from services.delivery.signature import Signer


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and where to."""

    url: str
    requests: int
    connections: int = 64


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How fast that was."""

    rate: float


async def post(http: aiohttp.ClientSession, plan: Plan, signer: Signer) -> None:
    """Post one connection's share of the requests."""
    body = json.dumps(payload(1)).encode()
    for _ in range(plan.requests // plan.connections):
        id_, now = str(new_id()), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": str(now),
            "webhook-signature": signer.sign(id_, now, body),
        }
        async with http.post(plan.url, data=body, headers=headers) as answer:
            await answer.read()


async def main(plan_path: Path, result_path: Path) -> None:
    """Do what the plan says, and write the result."""
    plan = msgspec.json.decode(plan_path.read_bytes(), type=Plan)
    signer = Signer([b"a secret of thirty-two bytes ..."])
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        began = time.monotonic()
        await asyncio.gather(
            *(post(http, plan, signer) for _ in range(plan.connections))
        )
        seconds = time.monotonic() - began
    result_path.write_bytes(msgspec.json.encode(Result(rate=plan.requests / seconds)))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
