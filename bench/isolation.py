"""``python -m bench.isolation``: what a receiver that hangs costs the others.

One endpoint answers at once, another holds every request for half a minute and has tens
of thousands of jobs waiting.  The first is sent jobs at a steady rate, alone and then
beside the other.  Measured is the time from a job's acceptance to its arrival.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.children import Broken
from bench.house import House, open_house
from bench.records import id_bytes, milliseconds
from libs.common.errors import BellhopError
from libs.common.log import start_logging

_HANG_SECONDS: Final = 30.0
#: The queue of those that wait.
_SLOW: Final = "slow"
_BULK: Final = 100
_WARM_SECONDS: Final = 2.0
#: How long the last of the jobs that are measured may be on its way.
_LATE_SECONDS_MAX: Final = 60.0


@dataclass(slots=True)
class Hanging:
    """A receiver that takes everything and answers nothing for half a minute."""

    port: int = 0
    under_way: int = 0
    seen: int = 0
    busy: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Hold one connection."""
        self.under_way += 1
        self.seen += 1
        self.busy.set()
        try:
            async with asyncio.timeout(_HANG_SECONDS):
                while await reader.read(65_536):
                    pass
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.under_way -= 1
            writer.close()


@asynccontextmanager
async def hanging() -> AsyncIterator[Hanging]:
    """Run such a receiver until the block ends."""
    receiver = Hanging()
    server = await asyncio.start_server(receiver.hold, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def ask(house: House, method: str, path: str, body: Any) -> Any:
    """Ask the API; raises `Broken` when it refuses."""
    async with house.http.request(
        method,
        f"http://127.0.0.1:{house.port}/api/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {house.api_key}"},
    ) as answer:
        if answer.status >= 300:
            raise Broken(f"{path}: HTTP {answer.status}: {await answer.text()}")
        return await answer.json()


async def fill(house: House, endpoint_id: str, jobs: int) -> None:
    """Let so many jobs wait for an endpoint."""
    for start in range(0, jobs, _BULK):
        body = {
            "queue_name": _SLOW,
            "jobs": [{"payload": {"n": n}} for n in range(start, start + _BULK)],
            "target": {"endpoint_id": endpoint_id},
        }
        await ask(house, "POST", "/jobs/bulk", body)


async def latencies(
    house: House, endpoint: dict[str, Any], *, rate: float, seconds: float
) -> list[float]:
    """Send jobs to an endpoint at a steady rate; return how long each took (s)."""
    await house.forget_arrivals()
    accepted: dict[bytes, float] = {}

    async def send() -> None:
        body = {
            "queue_name": "webhooks",
            "payload": {"n": 1},
            "target": {"endpoint_id": endpoint["id"]},
        }
        made = await ask(house, "POST", "/jobs", body)
        accepted[id_bytes(made["id"].encode())] = time.monotonic()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(began + number / rate - time.monotonic())
            group.create_task(send())
    await house.arrived(len(accepted), at_most=_LATE_SECONDS_MAX)
    arrivals = await house.arrivals(len(accepted), secret=endpoint["secret"])
    return [max(arrivals[id_] - at, 0.0) for id_, at in accepted.items()]


async def measure(house: House, *, jobs: int, rate: float, seconds: float) -> str:
    """Return what was measured, as a table."""
    healthy = await ask(house, "POST", "/endpoints", {"url": house.sink_url})
    await latencies(house, healthy, rate=rate, seconds=_WARM_SECONDS)
    alone = await latencies(house, healthy, rate=rate, seconds=seconds)
    async with hanging() as receiver:
        made = await ask(
            house,
            "POST",
            "/endpoints",
            {
                "url": f"http://127.0.0.1:{receiver.port}/",
                "timeout_seconds": _HANG_SECONDS,
            },
        )
        # They begin to be sent all at once, so that the others are measured while the
        # receiver holds what it got, and not when its breaker has opened.
        await ask(house, "PUT", f"/queues/{_SLOW}/config", {"enabled": False})
        await fill(house, made["id"], jobs)
        await ask(house, "PUT", f"/queues/{_SLOW}/config", {"enabled": True})
        await receiver.busy.wait()
        beside = await latencies(house, healthy, rate=rate, seconds=seconds)
        held, seen = receiver.under_way, receiver.seen
    lines = [f"{'':26} {'p50 ms':>8} {'p99 ms':>8}"]
    figures = [
        [milliseconds(each, part) for part in (0.5, 0.99)] for each in (alone, beside)
    ]
    for name, (middle, last) in zip(
        ("alone", f"beside {jobs} that wait"), figures, strict=True
    ):
        lines.append(f"{name:26} {middle:8.1f} {last:8.1f}")
    ratios = [with_ / without for without, with_ in zip(*figures, strict=True)]
    lines.append(f"{'ratio':26} {ratios[0]:8.2f} {ratios[1]:8.2f}")
    lines.append(f"requests held by the other: {held} at the end, {seen} in all")
    return "\n".join(lines)


async def _run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="bellhop-isolation-") as directory:
        async with open_house(Path(directory)) as house:
            print(
                await measure(
                    house,
                    jobs=arguments.jobs,
                    rate=arguments.rate,
                    seconds=arguments.seconds,
                )
            )
    return 0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.isolation", description=__doc__.splitlines()[2]
    )
    parser.add_argument("--jobs", type=int, default=50_000, help="that wait (50000)")
    parser.add_argument("--rate", type=float, default=50, help="jobs a second (50)")
    parser.add_argument("--seconds", type=float, default=20, help="of each part (20)")
    start_logging("bench", level="warning")
    try:
        return uvloop.run(_run(parser.parse_args()))
    except (Broken, BellhopError) as error:
        print(f"isolation: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
