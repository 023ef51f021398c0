"""Every actor there is, in any order, on the real tables, under a clock of the test's.

`House` predicts what every statement does; after each step the tables must agree.

Hypothesis chooses who acts; what they do is up to a random number generator that it
seeds: left to draw the details, too, it repeats itself, and rarely gets far.  Actors
act only when there is something to do, for the same reason.
"""

from collections import Counter
from datetime import timedelta
from typing import get_args
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from libs.common.lifecycle import Place
from libs.common.store import (
    claims,
    interventions,
    jobs,
    leases,
    settlement,
    timers,
)
from libs.common.store.settlement import Death, Settled
from tests.model.scene import Scene
from tests.support.expectation import OPEN, Job, Lease

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


class Places(Scene):
    """The store, and what it should do."""

    # --- into the house ---------------------------------------------------------------

    @initialize(luck=st.randoms(use_true_random=True))
    def open_the_doors(self, luck):
        self.luck = luck
        self.taken_up = set()
        self.create()

    @unless_many(*OPEN, most=CROWD)
    @rule()
    def create(self):
        wanted = [self.wanted() for _ in range(self.luck.randint(4, 8))]

        created = self.do(jobs.create(self.conn, jobs=[self.new(j) for j in wanted]))

        assert created == self.house.create(wanted)
        asked = {
            (job.line.organization_id, job.key) for job in wanted if job.key is not None
        }
        holders = self.do(jobs.find_by_keys(self.conn, keys=sorted(asked)))
        assert {key: holder.job_id for key, holder in holders.items()} == {
            key: self.house.keys[key] for key in asked
        }

    @unless_many(*ASIDE, most=2)
    @rule()
    def put_aside(self):
        """Nothing creates such jobs yet, but cancel and expire know them."""
        for place in ASIDE * 2:
            job = self.wanted()
            job.run_at = job.key = None
            assert self.house.create([job]) == {job.id}
            job.place = place
            more = "open_parents" if place is Place.WAITING else "reason"
            self.do(jobs.create(self.conn, jobs=[self.new(job)]))
            self.do(self.conn.execute("DELETE FROM ready WHERE job_id = $1", job.id))
            self.do(
                self.conn.execute(
                    f"INSERT INTO {place} (job_id, lane_id, rank, {more})"
                    " VALUES ($1, $2, $3, '1')",
                    job.id,
                    job.line.id,
                    job.rank,
                )
            )

    # --- who works --------------------------------------------------------------------

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
            lease = Lease(push, self.house.now + seconds, [], taken_up=not push)
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
            self._take_up([id_ for _, id_ in self.house.live()])
            self.wait(11)
            self._recover(push=push, limit=99)

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
        death = self.luck.choice(get_args(Death))
        live = set(self.house.live())
        asked: dict[tuple[UUID, UUID], set[str]] = {}
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

    # --- leases -----------------------------------------------------------------------

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
        """A lease runs out: not at its deadline, but right after, if time counts."""
        pairs = self.house.live()
        _, chosen = self.luck.choice(pairs)
        lease, limit = self.house.leases[chosen], self.luck.choice([1, 10])
        self._take_up(self.luck.choice([[], [chosen], [id_ for _, id_ in pairs]]))
        self.wait(lease.deadline - self.house.now)
        self._recover(push=lease.push, limit=limit)
        self.wait(1)
        # Postgres stood still since: whoever looks now looks at what was then.
        self._recover(push=lease.push, limit=limit, as_of=lease.deadline)
        self._recover(push=lease.push, limit=limit)

    def _take_up(self, lease_ids):
        self.do(leases.note_taken_up(self.conn, lease_ids=lease_ids))
        for id_ in lease_ids:
            self.house.leases[id_].taken_up = True

    def _recover(self, *, push, limit, as_of=None):
        then = self.house.now if as_of is None else as_of
        run_out = self.house.run_out(push=push, as_of=then)

        recovered, more = self.do(
            leases.recover(self.conn, push=push, limit=limit, as_of=self.moment(as_of))
        )

        held = dict(self.house.live())
        hopeless = self.house.recover(run_out[:limit])
        assert more == (len(run_out) >= limit)
        assert {each.job_id: each.dead for each in recovered} == hopeless
        for each in recovered:
            assert each.lease_id == held[each.job_id]
            assert each.lane_id == self.house.jobs[each.job_id].line.id

    # --- time -------------------------------------------------------------------------

    @while_some(Place.SCHEDULED)
    @rule()
    def promote_due(self):
        """Somebody's time comes, or will in a moment."""
        limit, early = self.luck.choice([1, 10]), self.luck.choice([0, 0, 1])
        moments = [job.run_at or 0 for job in self.house.in_place(Place.SCHEDULED)]
        self.wait(self.luck.choice(moments) - self.house.now - early)
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
        moments = [job.expires_at or 0 for job in self.house.may_expire()]
        self.wait(self.luck.choice(moments) - self.house.now - early)

        ended = self.do(timers.expire(self.conn, limit=limit))

        assert set(ended) == self.house.expire(limit)
        assert len(ended) == len(set(ended))

    # --- by hand ----------------------------------------------------------------------

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
