"""Whole stacks for tests, through the command line that people use."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from libs.cli.lock import holder
from libs.cli.service_process import tree_environment
from libs.cli.stack_file import StackFile, read_stack


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str


@dataclass
class OwnStack:
    """A stack in a directory of its own, on any free ports."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> StackFile:
        return read_stack(self.data_dir)

    async def bellhop(self, *command: str) -> Said:
        """Run a command to its end."""
        process = await self.begin(*command)
        text, _ = await process.communicate()
        assert process.returncode is not None
        return Said(process.returncode, text.decode())

    async def begin(self, *command: str) -> asyncio.subprocess.Process:
        """Run a command and do not wait for it."""
        inherited = {
            name: value
            for name, value in tree_environment().items()
            if not name.startswith("BELLHOP_")
            and name not in {"DATABASE_URL", "NATS_URL"}
        }
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "libs.cli",
            *command,
            env={
                **inherited,
                "BELLHOP_DATA_DIR": str(self.data_dir),
                "BELLHOP_PORT": "0",
                "BELLHOP_GRPC_PORT": "0",
                **self.environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def start(self) -> StackFile:
        """Start it in the background."""
        said = await self.bellhop("start")
        assert said.code == 0, said.text
        return self.file

    def processes(self) -> list[psutil.Process]:
        """Return the supervisor and everything it has started."""
        pid = holder(self.data_dir)
        if pid is None:
            return []
        supervisor = psutil.Process(pid)
        return [supervisor, *supervisor.children(recursive=True)]


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that are still there; what only waits to be buried is not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@asynccontextmanager
async def own_stack(data_dir: Path, **environment: str) -> AsyncIterator[OwnStack]:
    """Give a stack, not started; whatever state it is in, stop it in the end."""
    stack = OwnStack(data_dir, environment)
    try:
        yield stack
    finally:
        await _end(stack)


async def _end(stack: OwnStack) -> None:
    processes = stack.processes()
    await stack.bellhop("stop")
    for process in living(processes):
        process.kill()


@contextmanager
def background_stack(data_dir: Path) -> Iterator[OwnStack]:
    """Run a stack until the block ends, for whoever runs no event loop meanwhile."""
    stack = OwnStack(data_dir)
    try:
        asyncio.run(stack.start())
        yield stack
    finally:
        asyncio.run(_end(stack))
