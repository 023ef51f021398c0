"""The benchmark's workers take all there is, however little that is."""

import pytest

from bench.rest_workers import Job, Plan, Worker, _claim_all


class Claimer(Worker):
    """One that claims from a stock."""

    def __init__(self, stock, batch):
        self._stock = stock
        self._batch = batch

    async def claim(self):
        taken = self._stock[: self._batch]
        del self._stock[: self._batch]
        return taken


@pytest.mark.parametrize("jobs", [50, 100, 400, 4000])
async def test_what_is_claimed_ahead_is_all_there_is(jobs):
    plan = Plan(port=0, key="", jobs=jobs, workers=8, batch=50, claimed_ahead=True)
    stock = [Job(id=str(n), lease_id="") for n in range(jobs)]

    claimed = [await _claim_all(plan, Claimer(stock, 50)) for _ in range(8)]

    assert sum(len(batch) for batches in claimed for batch in batches) == jobs
