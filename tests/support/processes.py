"""Services as processes of their own, to be killed, stopped and continued."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from libs.cli.embedded.ports import free_port
from tests.support.house import ADMIN_KEY, SECRET_KEY, answers, last_to_go
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
FIVE = ("ingest", "dispatcher", "delivery", "scheduler")


@dataclass
class Processes:
    """Services by name; more than one of a kind are called ``delivery#2``."""

    base_url: str
    database_url: str
    nats_url: str
    logs: Path
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str, **knobs: object) -> None:
        """Start one service and wait until it is ready."""
        kind = name.split("#", maxsplit=1)[0]
        port = free_port()
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BELLHOP_")},
            "NATS_URL": self.nats_url,
            "BELLHOP_ENVIRONMENT": "development",
            "BELLHOP_SECRET_KEY": SECRET_KEY,
            "BELLHOP_ADMIN_KEY": ADMIN_KEY,
            "BELLHOP_HEALTH_PORT": str(port),
            "BELLHOP_GRPC_PORT": "0",
            "BELLHOP_HTTP_PORT": self.base_url.rsplit(":", 1)[1],
            **{f"BELLHOP_{k.upper()}": str(v) for k, v in knobs.items()},
        }
        if kind != "delivery":
            env["DATABASE_URL"] = self.database_url
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"services.{kind}",
                cwd=ROOT,
                env=env,
                stderr=log,
            )
        await until(lambda: answers(f"http://127.0.0.1:{port}"), at_most=120)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one service."""
        self.running[name].send_signal(number)

    async def kill(self, name: str) -> None:
        """SIGKILL one service."""
        process = self.running.pop(name)
        process.kill()
        await process.wait()

    async def stop(self, name: str) -> int:
        """SIGTERM one service; return its exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


@asynccontextmanager
async def run_processes(
    database_url: str, nats_url: str, *, logs: Path, services=FIVE, **knobs: object
) -> AsyncIterator[Processes]:
    """Run *services* until the block ends; each must then stop cleanly."""
    house = Processes(f"http://127.0.0.1:{free_port()}", database_url, nats_url, logs)
    try:
        await asyncio.gather(*(house.start(name, **knobs) for name in services))
        yield house
        codes = {name: await house.stop(name) for name in last_to_go(house.running)}
        assert set(codes.values()) <= {0}, codes
    finally:
        for name in list(house.running):
            await house.kill(name)
