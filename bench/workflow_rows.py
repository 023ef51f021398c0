"""The rows about workflows: how many of their jobs, and how soon the next is there."""

import asyncio
from typing import Final

from bench import bodies
from bench.house import House
from bench.row import Options, Row
from bench.worker_rows import WORKERS, Measure, over_grpc, timed
from libs.common.ids import new_id

#: Part of the jobs of a drain that are in workflows, how many of them workers claim at
#: once, and how many chains there are of how many jobs (one request brings a hundred).
_SHARE_WORKFLOWS: Final = 5
_BATCH_WORKFLOWS: Final = 10
_CHAINS: Final = 6
_CHAIN_JOBS: Final = 100
#: How many are created at once.
_CREATORS: Final = 8


async def workflow_diamonds(house: House, options: Options) -> Row:
    """Workflows of four jobs, two of them side by side, worked on by eight workers."""
    steps = [_step("top"), _step("left", "top"), _step("right", "top")]
    steps.append(_step("end", "left", "right"))
    diamonds = max(options.jobs // _SHARE_WORKFLOWS // len(steps), 1)
    await _create_workflows(house, [steps] * diamonds)
    return await timed(
        house,
        "workflow_diamonds",
        lambda: over_grpc(
            house,
            kind="work",
            batch=_BATCH_WORKFLOWS,
            callers=WORKERS,
            channels=WORKERS,
            jobs=diamonds * len(steps),
        ),
    )


async def workflow_release(house: House, _: Options) -> Row:
    """From the call that completes a job until a streaming worker has the next."""
    queue = f"chain-{new_id().hex}"
    chains = [
        [
            _step(str(number), *([str(number - 1)] if number else []), queue=name)
            for number in range(_CHAIN_JOBS)
        ]
        for name in (f"{queue}-{number}" for number in range(_CHAINS))
    ]
    await _create_workflows(house, chains)
    return await timed(
        house,
        "workflow_release",
        lambda: over_grpc(
            house,
            kind="follow",
            queue=queue,
            callers=1,
            channels=1,
            chains=_CHAINS,
            jobs=_CHAIN_JOBS,
        ),
    )


ROWS: Final[tuple[Measure, ...]] = (workflow_diamonds, workflow_release)


def _step(key: str, *parents: str, queue: str = bodies.QUEUE) -> dict[str, object]:
    return {
        "key": key,
        "queue_name": queue,
        "payload": bodies.payload(1),
        "depends_on": list(parents),
    }


async def _create_workflows(
    house: House, workflows: list[list[dict[str, object]]]
) -> None:
    """Create workflows of these jobs; raises when one is refused."""
    left = iter(workflows)

    async def create() -> None:
        for jobs in left:
            async with house.http.post(
                f"http://127.0.0.1:{house.port}/api/v1/workflows",
                headers={"Authorization": f"Bearer {house.api_key}"},
                json={"name": "bench", "jobs": jobs},
            ) as answer:
                answer.raise_for_status()
                await answer.read()

    await asyncio.gather(*(create() for _ in range(_CREATORS)))
