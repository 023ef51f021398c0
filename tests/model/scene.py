"""What every actor of the model test has: the stage, luck, and a watchful eye.

After each step the tables must agree with the `House`, and with themselves.
"""

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, invariant

from libs.common.ids import first_id_at
from libs.common.store import invariants
from libs.common.store.jobs import NewJob
from tests.model.stage import Stage
from tests.support import stock
from tests.support.expectation import House, Job, Seen


class Scene(RuleBasedStateMachine):
    """One example: the house as it should be, and luck."""

    stage: Stage
    seen: Seen

    def __init__(self) -> None:
        super().__init__()
        self.conn = self.stage.conn
        self.do = self.stage.do
        self.house = House(seen=self.seen)
        #: Every (job, lease) that was ever handed out.
        self.holdings: list[tuple[UUID, UUID]] = []
        self.luck = random.Random(0)
        self.began = self.stage.begin()
        self.births = first_id_at(self.began).int | 0x7000_8000_0000_0000_0000

    def teardown(self) -> None:
        self.stage.end()

    def moment(self, seconds: float | None) -> datetime | None:
        """Return a moment of the model's clock as Postgres is to see it now."""
        if seconds is None:
            return None
        return self.began + timedelta(seconds=seconds - self.house.now)

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self.house.now += seconds
            self.stage.wait(seconds)

    def some(self, choices, *, at_least=0, at_most=3) -> list[Any]:
        """Return some of *choices*, maybe one of them twice."""
        count = self.luck.randint(at_least, at_most)
        return self.luck.choices(choices, k=count) if choices else []

    def wanted(self) -> Job:
        """Return a job that somebody may ask for."""
        self.births += 1
        now = self.house.now
        run_in = self.luck.choice([None, None, -5, 0, 5, 30])
        expires_in = self.luck.choice([None, None, None, 0, 20, 90])
        return Job(
            id=UUID(int=self.births),
            line=self.luck.choice(self.stage.lines),
            rank=self.luck.choice([100, 100, 50]),
            max_retries=self.luck.randint(0, 2),
            run_at=None if run_in is None else now + run_in,
            expires_at=None if expires_in is None else now + expires_in,
            key=self.luck.choice([None, None, None, "one", "two"]),
        )

    def new(self, job: Job) -> NewJob:
        """Return *job* as the store takes it in."""
        return stock.new_job(
            job.line,
            id=job.id,
            rank=job.rank,
            max_retries=job.max_retries,
            run_at=self.moment(job.run_at),
            expires_at=self.moment(job.expires_at),
            idempotency_key=job.key,
        )

    @invariant()
    def every_job_is_in_one_place_and_its_journal_leads_there(self):
        assert self.do(invariants.misplaced(self.conn)) == []
        assert self.do(invariants.unjournaled(self.conn)) == []

    @invariant()
    def everything_is_as_the_house_says(self):
        self.stage.assert_places(self.house)
        self.stage.assert_beside(self.house)
