"""One piece of work that fails does not take its neighbours along."""

import asyncio

import pytest

from libs.common.actors import spare
from libs.common.metrics import ACTOR_FAILURES


async def test_work_that_fails_is_counted_and_its_neighbours_go_on():
    counter = ACTOR_FAILURES.labels(actor="spared")
    before = counter._value.get()

    async def fail():
        raise ZeroDivisionError

    async def succeed():
        await asyncio.sleep(0)
        return 1

    async with asyncio.TaskGroup() as group:
        works = (fail, succeed, fail, succeed)
        tasks = [group.create_task(spare("spared", work)) for work in works]

    assert [task.result() for task in tasks] == [None, 1, None, 1]
    assert counter._value.get() == before + 2


async def test_work_that_is_cancelled_is_cancelled():
    task = asyncio.create_task(spare("spared", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
