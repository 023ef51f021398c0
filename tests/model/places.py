"""Every actor there is, in any order, on the real tables, under a clock of the test's.

`House` predicts what every statement does; after each step the tables must agree.

Hypothesis chooses who acts; what they do is up to a random number generator that it
seeds: left to draw the details, too, it repeats itself, and rarely gets far.  Actors
act only when there is something to do, for the same reason.
"""

import random
from collections import Counter
from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from libs.common.ids import first_id_at
from libs.common.lifecycle import Place
from libs.common.store import claims, interventions, invariants, jobs, leases
from libs.common.store import settlement, timers
from libs.common.store.settlement import Settled
from tests.model.stage import Stage
from tests.support import stock
from tests.support.expectation import OPEN, House, Job, Lease

#: More open jobs than this at a time show nothing new.
CROWD = 12
ASIDE = (Place.WAITING, Place.HELD)
HOWS = ("completed", "retrying", "deadlettered", "released", "expired")


def while_some(*places, fewer=1):
    """A rule for when at least *fewer* jobs stand in *places*."""
    return precondition(lambda self: len(self.house.in_place(*places)) >= fewer)


def unless_many(*places, most):
    """A rule for when fewer than *most* jobs stand in *places*."""
    return precondition(lambda self: len(self.house.in_place(*places)) < most)


class Places(RuleBasedStateMachine):
    """The store, and what it should do."""

    stage: Stage
    seen: Counter

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

    def moment(self, seconds: float | None):
        """Return a moment of the model's clock as Postgres is to see it now."""
        if seconds is None:
            return None
        return self.began + timedelta(seconds=seconds - self.house.now)

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self.house.now += seconds
            self.stage.wait(seconds)

    def some(self, choices, *, at_least=0, at_most=3) -> list:
        """Return some of *choices*, maybe one of them twice."""
        count = self.luck.randint(at_least, at_most)
        return self.luck.choices(choices, k=count) if choices else []

    # --- into the house ----------------------------------------------------------------

    def _wanted(self) -> Job:
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

    def _new(self, job: Job):
        return stock.new_job(
            job.line,
            id=job.id,
            rank=job.rank,
            max_retries=job.max_retries,
            run_at=self.moment(job.run_at),
            expires_at=self.moment(job.expires_at),
            idempotency_key=job.key,
        )

    @initialize(luck=st.randoms(use_true_random=True))
    def open_the_doors(self, luck):
        self.luck = luck
        self.create()

    @unless_many(*OPEN, most=CROWD)
    @rule()
    def create(self):
        wanted = [self._wanted() for _ in range(self.luck.randint(4, 8))]

        created = self.do(jobs.create(self.conn, jobs=[self._new(j) for j in wanted]))

        assert created == self.house.create(wanted)
        asked = {job.owner_key for job in wanted if job.key}
        holders = self.do(jobs.find_by_keys(self.conn, keys=sorted(asked)))
        assert {key: holder.job_id for key, holder in holders.items()} == {
            key: self.house.keys[key] for key in asked
        }

    @unless_many(*ASIDE, most=2)
    @rule()
    def put_aside(self):
        """Nothing creates such jobs yet, but cancel and expire know them."""
        for place in ASIDE * 2:
            job = self._wanted()
            job.run_at = job.key = None
            assert self.house.create([job]) == {job.id}
            job.place = place
            more = "open_parents" if place is Place.WAITING else "reason"
            self.do(jobs.create(self.conn, jobs=[self._new(job)]))
            self.do(self.conn.execute("DELETE FROM ready WHERE job_id = $1", job.id))
            self.do(
                self.conn.execute(
                    f"INSERT INTO {place} (job_id, lane_id, rank, {more})"  # noqa: S608
                    " VALUES ($1, $2, $3, '1')",
                    job.id,
                    job.line.id,
                    job.rank,
                )
            )

    # --- who works ---------------------------------------------------------------------

    @while_some(Place.READY)
    @rule()
    def claim(self):
        push = self.luck.choice(self.house.in_place(Place.READY)).line.push
        self._claim(push=push, count=self.luck.randint(1, 4), seconds=30)

    def _claim(self, *, push, count, seconds):
        lines = [line for line in self.stage.lines if line.push == push]
        expected = [job for line in lines for job in self.house.next_of(line, count)]
        lease_jobs_max = self.luck.randint(1, 3)

        claimed = self.do(
            claims.claim(
                self.conn,
                quotas={line.id: count for line in lines},
                lease_jobs_max=lease_jobs_max,
                owner="pod",
                push=push,
                lease=timedelta(seconds=seconds),
                payload_bytes_max=100,
            )
        )

        self.house.claim(expected)
        assert {(each.job_id, each.attempt, each.expired) for each in claimed} == {
            (job.id, job.attempt, self.house.is_expired(job)) for job in expected
        }
        sizes = Counter(each.lease_id for each in claimed)
        assert len(sizes) == -(-len(claimed) // lease_jobs_max)
        assert max(sizes.values(), default=0) <= lease_jobs_max
        assert not self.house.leases.keys() & sizes.keys()
        for each in sorted(claimed, key=lambda each: each.job_id):
            lease = Lease(push, self.house.now + seconds, [])
            self.house.leases.setdefault(each.lease_id, lease).jobs.append(each.job_id)
            self.house.jobs[each.job_id].lease = each.lease_id
            self.holdings.append((each.job_id, each.lease_id))

    @while_some(Place.READY)
    @rule(ends=st.sampled_from(["dies", *HOWS, "dies"]))
    def work(self, ends):
        """Somebody takes everything up and gets to the end of it, or many die of it."""
        push = self.luck.choice(self.house.in_place(Place.READY)).line.push
        if ends != "dies":
            self._claim(push=push, count=9, seconds=10)
            self._settle([(pair, ends) for pair in self.house.live()])
            return
        for _ in range(self.luck.randint(1, 3)):
            self._claim(push=push, count=9, seconds=10)
            self.wait(11)
            self._recover(push=push, limit=99, never=set())

    @while_some(Place.LEASED)
    @rule()
    def settle(self):
        """Holders tell how it went; some twice, some are holders no more."""
        told = self.some(self.house.live(), at_least=1, at_most=4)
        told += self.some(self.holdings, at_most=2)
        self._settle([(pair, self.luck.choice(HOWS)) for pair in told])

    @while_some(Place.LEASED)
    @rule()
    def settle_what_is_not_theirs(self):
        """Whoever held any lease, or none, tells of any job."""
        strangers = [
            (
                self.luck.choice(self.house.live() + self.holdings)[0],
                self.luck.choice([*self.holdings, (None, UUID(int=0))])[1],
            )
            for _ in range(4)
        ]
        self._settle([(pair, self.luck.choice(HOWS)) for pair in strangers])

    def _settle(self, told):
        delay = self.luck.choice([0.0, 10.0])
        status = self.luck.choice([500, None])
        death = self.luck.choice(["attempts_exhausted", "gone"])
        live = set(self.house.live())
        asked = {}
        for pair, how in told:
            if pair in live:
                asked.setdefault(pair, set()).add(how)

        closed = self.do(
            settlement.settle(
                self.conn,
                attempts=[
                    Settled(
                        job_id=job_id,
                        lease_id=lease_id,
                        how=how,
                        delay_seconds=delay,
                        death=death if how == "deadlettered" else None,
                        status_code=200 if how == "completed" else status,
                        error="because",
                    )
                    for (job_id, lease_id), how in told
                ],
                actor="pod",
            )
        )

        assert sorted((each.job_id, each.lease_id) for each in closed) == sorted(asked)
        verdict = "refused" if status else "unanswered"
        for each in closed:
            job = self.house.jobs[each.job_id]
            assert each.how in asked[each.job_id, each.lease_id]
            assert each.lane_id == job.line.id
            self.house.settle(job, each.how, delay=delay, verdict=verdict, death=death)

    # --- leases ------------------------------------------------------------------------

    @while_some(Place.LEASED)
    @rule()
    def renew(self):
        """After a silence all get a moment of grace; then some are heard of."""
        grace, lease = self.luck.choice([(5, 60), (60, 5)])
        near = {
            id_
            for id_, held in self.house.leases.items()
            if held.push and held.deadline < self.house.now + grace
        }
        granted = leases.grant_grace(self.conn, grace=timedelta(seconds=grace))
        assert self.do(granted) == len(near)
        self.house.extend(near, grace)

        asked = self.some(self.house.live(), at_least=1) + self.some(self.holdings)
        ids = {id_ for _, id_ in asked}
        kept = self.do(
            leases.renew(self.conn, lease_ids=ids, lease=timedelta(seconds=lease))
        )
        assert kept == ids & self.house.leases.keys()
        self.house.extend(kept, lease)

    @while_some(Place.LEASED)
    @rule()
    def recover(self):
        """A lease runs out: not at its deadline, but right after."""
        _, chosen = self.luck.choice(self.house.live())
        lease = self.house.leases[chosen]
        never, limit = self.luck.choice([set(), {chosen}]), self.luck.choice([1, 10])
        self.wait(lease.deadline - self.house.now)
        self._recover(push=lease.push, limit=limit, never=never)
        self.wait(1)
        self._recover(push=lease.push, limit=limit, never=never)

    def _recover(self, *, push, limit, never):
        deadlines = [x.deadline for x in self.house.leases.values() if x.push == push]
        runs_out = self.do(leases.runs_out(self.conn, push=push))
        assert runs_out == (min(deadlines) - self.house.now if deadlines else None)

        recovered = self.do(
            leases.recover(self.conn, push=push, limit=limit, never_taken_up=never)
        )

        held = dict(self.house.live())
        hopeless = self.house.recover(push=push, limit=limit, never=never)
        assert {each.job_id: each.dead for each in recovered} == hopeless
        for each in recovered:
            assert each.lease_id == held[each.job_id]
            assert each.lane_id == self.house.jobs[each.job_id].line.id

    # --- time --------------------------------------------------------------------------

    @while_some(Place.SCHEDULED)
    @rule()
    def promote_due(self):
        """Somebody's time comes, or will in a moment."""
        limit, early = self.luck.choice([1, 10]), self.luck.choice([0, 0, 1])
        job = self.luck.choice(self.house.in_place(Place.SCHEDULED))
        self.wait(job.run_at - self.house.now - early)
        moments = [job.run_at for job in self.house.in_place(Place.SCHEDULED)]
        following = self.do(timers.next_due(self.conn))
        assert following == min(moments) - self.house.now
        due = self.house.due(limit)

        promoted = self.do(timers.promote_due(self.conn, limit=limit))

        assert promoted == Counter(job.line.id for job in due)
        for job in due:
            self.house.promote(job)

    @precondition(lambda self: self.house.may_expire())
    @rule()
    def expire(self):
        """Somebody's time to run passes, or will in a moment."""
        limit, early = self.luck.choice([1, 10]), self.luck.choice([0, 0, 1])
        job = self.luck.choice(self.house.may_expire())
        self.wait(job.expires_at - self.house.now - early)

        ended = self.do(timers.expire(self.conn, limit=limit))

        assert set(ended) == self.house.expire(limit)
        assert len(ended) == len(set(ended))

    # --- by hand -----------------------------------------------------------------------

    @while_some(*OPEN, fewer=8)
    @rule()
    def cancel(self):
        """Somebody cancels a job, their own or not, open or not."""
        place = self.luck.choice(list(Place))
        choices = self.house.in_place(place) or self.house.in_place(*OPEN)
        job = self.luck.choice(choices)
        owner = job.line.organization_id
        others = [line.organization_id for line in self.stage.lines]
        organization_id = self.luck.choice([owner, self.luck.choice(others)])

        cancelled = self.do(
            interventions.cancel(
                self.conn,
                organization_id=organization_id,
                job_id=job.id,
                actor="key",
            )
        )

        assert cancelled == (organization_id == owner and self.house.cancel(job))

    @while_some(Place.DEAD)
    @rule()
    def requeue(self):
        queues = self.luck.choice([None, None, ["mail"], ["work", "bills"]])
        organization_id, dead, others = self._choose(queues)
        assert dead == self.do(
            interventions.choose_dead(
                self.conn,
                organization_id=organization_id,
                queue_names=queues,
                died_before=None,
                limit=100,
            )
        )

        requeued = self.do(
            interventions.requeue(
                self.conn,
                organization_id=organization_id,
                job_ids=dead + others,
                actor="key",
                queue_names=queues,
            )
        )

        assert {each.job_id: (each.lane_id, each.push) for each in requeued} == {
            job.id: (job.line.id, job.line.push)
            for job in self._of(organization_id, dead + others)
            if (queues is None or job.line.queue_name in queues)
            and self.house.requeue(job)
        }

    @while_some(Place.DEAD)
    @rule()
    def purge(self):
        organization_id, dead, others = self._choose(None)
        chosen = dead[:2] + others

        purged = self.do(
            interventions.purge(
                self.conn,
                organization_id=organization_id,
                job_ids=chosen,
                actor="key",
            )
        )

        assert purged == sum(
            self.house.purge(job) for job in self._of(organization_id, chosen)
        )

    def _choose(self, queues) -> tuple[UUID, list[UUID], list[UUID]]:
        """Return an organization, its dead in *queues*, and what is not so."""
        dead = self.house.in_place(Place.DEAD)
        organization_id = self.luck.choice(dead).line.organization_id
        theirs = [
            job.id
            for job in dead
            if job.line.organization_id == organization_id
            and (queues is None or job.line.queue_name in queues)
        ]
        others = [job.id for job in dead if job.id not in theirs][:1]
        return (
            organization_id,
            sorted(theirs),
            others + self.some(list(self.house.jobs)),
        )

    def _of(self, organization_id, ids) -> list[Job]:
        return [
            self.house.jobs[id_]
            for id_ in set(ids)
            if self.house.jobs[id_].line.organization_id == organization_id
        ]

    # --- what must hold ----------------------------------------------------------------

    @invariant()
    def every_job_is_in_one_place_and_its_journal_leads_there(self):
        assert self.do(invariants.misplaced(self.conn)) == []
        assert self.do(invariants.unjournaled(self.conn)) == []

    @invariant()
    def everything_is_as_the_house_says(self):
        self.stage.assert_places(self.house)
        self.stage.assert_beside(self.house)


def play(database_url: str, *, examples: int = 70, steps: int = 40) -> Counter:
    """Play the same examples as ever; return how often each move was seen."""
    Places.stage, Places.seen = Stage(database_url), Counter()
    try:
        run_state_machine_as_test(
            Places,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        Places.stage.close()
    return Places.seen
