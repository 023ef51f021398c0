"""What one attempt costs delivery: ``python -m bench.sending``.

The sender as a pod has it, without bus and house: signed bodies over kept connections
to the sink, so many at once.  CPU is that of this process alone; the sink has its own.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from bench.bodies import payload
from bench.children import listening
from libs.common.ids import new_id
from libs.common.log import start_logging
from libs.common.messages import Delivery
from services.delivery.manners import Manner, plain
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings

_SECRET = b"a secret of thirty-two bytes ..."
_SEALING_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
_WARM_REQUESTS = 2_000


async def send(sender: Sender, manner: Manner, jobs: list[Delivery]) -> None:
    """Make these attempts, one after the other."""
    for job in jobs:
        verdict = await sender.attempt(job, bytes(job.body), manner, lease_id="lease")
        assert verdict.status is not None, verdict.error


async def send_all(url: str, *, requests: int, at_once: int) -> tuple[float, float]:
    """Return how long so many attempts took, and their CPU seconds."""
    body = json.dumps(payload(1)).encode()
    jobs = [
        Delivery(
            job_id=str(new_id()),
            organization_id="organization",
            attempt=1,
            url=url,
            timeout_seconds=30.0,
            body_bytes=len(body),
            body=msgspec.Raw(body),
        )
        for _ in range(requests)
    ]
    manner = plain([_SECRET])
    settings = Settings(secret_key=_SEALING_KEY, environment="development")
    async with open_sender(settings) as sender:
        warm = jobs[:_WARM_REQUESTS]
        await asyncio.gather(
            *(send(sender, manner, warm[i::at_once]) for i in range(at_once))
        )
        began, used = time.monotonic(), time.process_time()
        await asyncio.gather(
            *(send(sender, manner, jobs[i::at_once]) for i in range(at_once))
        )
        return time.monotonic() - began, time.process_time() - used


async def measure(*, requests: int, at_once: int, rounds: int) -> None:
    """Print the figures of each round, and the best."""
    costs = []
    with tempfile.TemporaryDirectory(prefix="bellhop-sending-") as directory:
        for _ in range(rounds):
            async with listening("sink", directory=Path(directory)) as (port, _):
                seconds, used = await send_all(
                    f"http://127.0.0.1:{port}/hook", requests=requests, at_once=at_once
                )
            costs.append(used / requests * 1e6)
            print(f"{requests / seconds:9,.0f}/s  {costs[-1]:7.1f} µs of CPU each")
    print(f"best of {rounds}: {min(costs):.1f} µs of CPU an attempt")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sending")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    start_logging("bench", level="warning")
    # As `libs.common.runner` has it in a pod.
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(
        measure(
            requests=arguments.requests,
            at_once=arguments.at_once,
            rounds=arguments.rounds,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
