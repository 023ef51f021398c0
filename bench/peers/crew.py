"""A peer's processes: one that creates jobs, and some that handle them."""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from bench.bodies import payload
from bench.children import Broken, carry_out_by
from bench.peers.plans import TALLY, WAIT, Plan, Result, waits_beside
from libs.cli.embedded.program import Program, dying_with_parent
from libs.cli.service_process import tree_environment

#: The same jobs as Bellhop's, in turn.
_PAYLOADS: Final = [payload(number) for number in range(64)]
_LOOK_SECONDS: Final = 0.02
#: How long after a job its tally is told, at most: see `bench.peers.handler`.
_TOLD_SECONDS: Final = 0.5
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Workers:
    """Processes that handle jobs, until the block that opened them ends."""

    programs: dict[str, Program]
    tallies: list[Path]

    @property
    def pids(self) -> dict[str, int]:
        """Each process."""
        return {name: program.pid for name, program in self.programs.items()}

    @property
    def handled(self) -> int:
        """How many jobs they have handled, as far as they told."""
        return sum(number for number, _ in self._told())

    @property
    def first(self) -> float:
        """When the first of them began."""
        return min(first for number, first in self._told() if number)

    def waits(self) -> list[float]:
        """What each job took, if they are clocks."""
        files = [waits_beside(tally).read_bytes() for tally in self.tallies]
        return [wait for data in files for (wait,) in WAIT.iter_unpack(data)]

    async def until_handled(self, jobs: int, *, at_most: float) -> None:
        """Wait until they have handled so many; raises `Broken`."""
        deadline = time.monotonic() + at_most
        while self.handled < jobs:
            self.check()
            if time.monotonic() > deadline:
                raise Broken(
                    f"{self.handled} of {jobs} jobs handled in {at_most:.0f} s"
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def check_handled(self, jobs: int) -> None:
        """See that each job was handled once, so far; raises `Broken`."""
        await asyncio.sleep(_TOLD_SECONDS)
        if self.handled != jobs:
            raise Broken(f"{jobs} jobs, handled {self.handled} times")

    def check(self) -> None:
        """See that all of them are there; raises `Broken`."""
        for name, program in self.programs.items():
            if not program.running:
                raise Broken(f"{name} ended:\n{program.last_words()}")

    def _told(self) -> list[tuple[int, float]]:
        files = [tally.read_bytes() for tally in self.tallies if tally.exists()]
        return [TALLY.unpack(data) for data in files if len(data) == TALLY.size]


@dataclass(frozen=True, slots=True)
class Crew:
    """How a peer's adapter is run, and where its files go."""

    command: Sequence[str | Path]
    directory: Path

    async def carry_out(self, plan: Plan) -> Result:
        """Have a plan done; raises `Broken` with what the process said."""
        told = await carry_out_by(
            self.command, json.dumps(asdict(plan)).encode(), directory=self.directory
        )
        return Result(**json.loads(told))

    async def create(self, plan: Plan) -> Result:
        """Have jobs created that carry what Bellhop's do."""
        return await self.carry_out(replace(plan, payloads=_PAYLOADS))

    @asynccontextmanager
    async def work(self, plan: Plan, *, processes: int) -> AsyncIterator[Workers]:
        """Have jobs handled, by so many processes, until the block ends."""
        workers = Workers({}, [])
        try:
            for number in range(processes):
                tally = self.directory / f"worker-{next(_numbers)}.tally"
                program = Program(tally.with_suffix(".log"))
                await program.start(
                    self._working(replace(plan, tally=str(tally))),
                    environment=tree_environment(),
                )
                workers.programs[f"worker {number}"] = program
                workers.tallies.append(tally)
            yield workers
        finally:
            for program in workers.programs.values():
                await program.kill()

    def _working(self, plan: Plan) -> list[str | Path]:
        asked = Path(plan.tally).with_suffix(".plan")
        asked.write_text(json.dumps(asdict(plan)))
        nowhere = asked.with_suffix(".result")
        return dying_with_parent([*self.command, asked, nowhere], by=signal.SIGKILL)
