"""Processes of the benchmark's own: one that does a plan, one that listens."""

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from libs.cli.embedded.ports import free_port, is_free
from libs.cli.embedded.program import Program, dying_with_parent
from libs.cli.service_process import tree_environment

R = TypeVar("R", bound=msgspec.Struct)

_PLAN_SECONDS_MAX = 600.0
_LISTEN_SECONDS_MAX = 20.0
_LOOK_SECONDS = 0.02
_numbers = itertools.count(1)


class Broken(Exception):  # noqa: N818 - what is wrong, no "Error" at the end
    """A measurement that cannot be believed: something failed, or was not right."""


async def carry_out(
    module: str, plan: msgspec.Struct, result: type[R], *, directory: Path
) -> R:
    """Run ``bench.<module>`` on *plan* to its end; return its result.

    Raises `Broken` with what the process said.
    """
    told = await carry_out_by(
        [sys.executable, "-m", f"bench.{module}"],
        msgspec.json.encode(plan),
        directory=directory,
    )
    return msgspec.json.decode(told, type=result)


async def carry_out_by(
    command: Sequence[str | Path], plan: bytes, *, directory: Path
) -> bytes:
    """Run ``COMMAND PLAN RESULT`` to its end; return the result.

    Raises `Broken` with what the process said.
    """
    stem = f"{Path(command[-1]).name}-{next(_numbers)}"
    asked, told = directory / f"{stem}.plan", directory / f"{stem}.result"
    asked.write_bytes(plan)
    program = Program(directory / f"{stem}.log")
    try:
        await program.start(
            dying_with_parent([*command, asked, told], by=signal.SIGKILL),
            environment=tree_environment(),
        )
        async with asyncio.timeout(_PLAN_SECONDS_MAX):
            if await program.wait() != 0:
                raise Broken(f"{command[-1]} failed:\n{program.last_words()}")
    except TimeoutError:
        raise Broken(f"{command[-1]} took {_PLAN_SECONDS_MAX:.0f} s") from None
    finally:
        await program.kill()
    return told.read_bytes()


@asynccontextmanager
async def listening(module: str, *, directory: Path) -> AsyncIterator[tuple[int, int]]:
    """Run ``bench.<module> PORT`` until the block ends; give its port and its pid."""
    port = free_port()
    program = Program(directory / f"{module}-{next(_numbers)}.log")
    try:
        await program.start(
            dying_with_parent(
                [sys.executable, "-m", f"bench.{module}", str(port)], by=signal.SIGKILL
            ),
            environment=tree_environment(),
        )
        async with asyncio.timeout(_LISTEN_SECONDS_MAX):
            while is_free(port):
                if not program.running:
                    raise Broken(f"bench.{module} ended:\n{program.last_words()}")
                await asyncio.sleep(_LOOK_SECONDS)
        yield port, program.pid
    finally:
        await program.kill()
