"""Dispatchers and workers: who claims, settles, keeps and drops jobs."""

from collections import Counter
from dataclasses import replace
from typing import get_args
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from libs.common.ids import new_id
from libs.common.lifecycle import Place
from libs.common.store import claims, leases, settlement
from libs.common.store.claims import Asked
from libs.common.store.leases import Renewed
from libs.common.store.settlement import Death, Settled
from tests.model.letting_go import LettingGo
from tests.model.scene import while_some
from tests.model.stage import TICK
from tests.support.expectation import Holding, Lease

HOWS = ("completed", "retrying", "deadlettered", "released", "expired")
WORKERS = ("ann", "bob")


class Working(LettingGo):
    """Both kinds of job: batches of push jobs, and those that workers claim."""

    # --- claims -----------------------------------------------------------------------

    @while_some(Place.READY)
    @rule()
    def claim(self):
        self._claim(count=self.luck.randint(1, 4), ticks=30)

    def _claim(self, *, count, ticks):
        """Let dispatchers or workers, whoever has something to do, claim."""
        if self.luck.choice(self.house.in_place(Place.READY)).line.push:
            self._claim_push(count=count, ticks=ticks)
        else:
            self._claim_work(count=count, ticks=ticks)

    def _claim_push(self, *, count, ticks):
        lines = [line for line in self.stage.lines if line.push]
        lanes = [line.id for line in lines] + [line.retry_id for line in lines]
        theirs = [self.stage.endpoint.id, self.stage.endpoint.retry_id]
        admitted = theirs if self.luck.random() < 0.8 else []
        takes = self.house.enabled and not self.house.deleted
        expected = [
            job
            for lane in lanes
            if lane not in theirs or (admitted and takes)
            for job in self.house.next_of(lane, count)
        ]
        lease_jobs_max = self.luck.randint(1, 3)

        claimed, refused = self.do(
            claims.claim(
                self.conn,
                quotas=dict.fromkeys(lanes, count),
                lease_jobs_max=lease_jobs_max,
                owner="pod",
                lease=ticks * TICK,
                payload_bytes_max=100,
                admitted=admitted,
            )
        )

        self.house.claim(expected)
        assert refused == ({*theirs} if takes and not admitted else set())
        assert {(each.job_id, each.attempt, each.expired) for each in claimed} == {
            (job.id, job.attempt, self.house.is_expired(job)) for job in expected
        }
        sizes = Counter(each.lease_id for each in claimed)
        assert len(sizes) == -(-len(claimed) // lease_jobs_max)
        assert max(sizes.values(), default=0) <= lease_jobs_max
        assert not self.house.leases.keys() & sizes.keys()
        self.stage.settle_clock(sizes.keys(), ticks)
        for each in sorted(claimed, key=lambda each: each.job_id):
            lease = Lease(self.house.now + ticks, [])
            self.house.leases.setdefault(each.lease_id, lease).jobs.append(each.job_id)
            self.house.jobs[each.job_id].lease = each.lease_id
            self._hold(each.job_id, each.lease_id, None)

    def _claim_work(self, *, count, ticks):
        lines = [line for line in self.stage.lines if not line.push]
        asked = [
            Asked(
                lane_id=self.luck.choice(lines).id,
                limit=self.luck.randint(1, count),
                lease_id=new_id(),
                owner=self.luck.choice(WORKERS),
                lease=ticks * TICK,
            )
            for _ in range(self.luck.randint(1, 4))
        ]

        given = self.do(claims.claim_work(self.conn, asked=asked))

        assert given.refused == set()
        self.stage.settle_clock([each.lease_id for each in asked], ticks)
        for line in lines:
            theirs = [each for each in asked if each.lane_id == line.id]
            found = self.house.give(line, [each.limit for each in theirs])
            for each, (work, late) in zip(theirs, found, strict=True):
                assert given.expired[each.lease_id] == late
                assert [
                    (got.job_id, got.attempt, got.retry_count, got.rank)
                    for got in given.work.get(each.lease_id, [])
                ] == [(job.id, job.attempt, job.retry_count, job.rank) for job in work]
                for job in work:
                    job.lease, job.owner = each.lease_id, each.owner
                    job.deadline = self.house.now + ticks
                    self._hold(job.id, each.lease_id, each.owner)
        self._let_go(given.released)

    def _hold(self, job_id, lease_id, owner):
        organization_id = self.house.jobs[job_id].line.organization_id
        self.holdings.append(Holding(job_id, lease_id, owner, organization_id))

    @while_some(Place.READY)
    @rule(ends=st.sampled_from(["dies", *HOWS, "dies"]))
    def work(self, ends):
        """Somebody takes everything up and gets to the end of it, or many die of it."""
        if ends != "dies":
            self._claim(count=9, ticks=10)
            self._settle([(holding, ends) for holding in self.house.live()])
            return
        for _ in range(self.luck.randint(1, 3)):
            if self.house.in_place(Place.READY):
                self._claim(count=9, ticks=10)
            self._take_up(list(self.house.leases))
            self.wait(11)
            self._recover(limit=99)
            self._recover_work(limit=99)
        if self.luck.random() < 0.3 and self.house.in_place(Place.READY):
            # Who has seen others die fails, and is tried again later.
            self._claim(count=9, ticks=10)
            self._settle([(holding, "retrying") for holding in self.house.live()])

    # --- settlement -------------------------------------------------------------------

    @while_some(Place.LEASED)
    @rule()
    def settle(self):
        """Holders tell how it went; some twice, some are holders no more."""
        told = self.some(self.house.live(), at_least=1, at_most=4)
        told += self.some(self.holdings, at_most=2)
        # A worker may not know its lease.
        told = [
            replace(each, lease=self.luck.choice([each.lease, None]))
            if each.owner is not None
            else each
            for each in told
        ]
        self._settle([(each, self.luck.choice(HOWS)) for each in told])

    @while_some(Place.LEASED)
    @rule()
    def settle_what_is_not_theirs(self):
        """Somebody tells of a job that is not, or not quite, theirs."""
        self._settle([(each, self.luck.choice(HOWS)) for each in self._strangers()])

    def _strangers(self):
        """Return what is somebody's, changed a little, in every way that there is."""
        organizations = {line.organization_id for line in self.stage.lines}
        strangers = []
        for each in self.some(self.house.live(), at_least=1, at_most=2):
            changes = [{"lease": self.luck.choice([*self.holdings, each]).lease}]
            if each.owner is None:
                changes += [{"owner": owner} for owner in WORKERS]
            else:
                changes += [
                    {"owner": None},
                    *({"lease": None, "owner": owner} for owner in WORKERS),
                    *({"organization_id": one} for one in sorted(organizations)),
                ]
            strangers += [replace(each, **change) for change in changes]
        return strangers

    def _settle(self, told):
        delay = self.luck.choice([0.0, 10.0])
        status = self.luck.choice([500, None])
        death = self.luck.choice(get_args(Death))
        asked: dict[UUID, set[str]] = {}
        for holding, how in told:
            if self.house.is_live(holding):
                asked.setdefault(holding.job_id, set()).add(how)

        closed = self.do(
            settlement.settle(
                self.conn,
                attempts=[
                    Settled(
                        job_id=holding.job_id,
                        lease_id=holding.lease,
                        owner=holding.owner,
                        organization_id=holding.owner and holding.organization_id,
                        how=how,
                        delay_seconds=delay * TICK.total_seconds(),
                        death=death if how == "deadlettered" else None,
                        status_code=200 if how == "completed" else status,
                        error="because",
                    )
                    for holding, how in told
                ],
                actor="pod",
            )
        )

        assert sorted(each.job_id for each in closed) == sorted(asked)
        for each in closed:
            job = self.house.jobs[each.job_id]
            assert each.how in asked[each.job_id]
            assert (each.lease_id, each.lane_id) == (job.lease, job.lane_id)
            assert told[each.index][0].job_id == job.id
            assert told[each.index][1] == each.how
            ended = each.how in {"completed", "deadlettered", "expired"}
            assert each.left_line == (ended and job.turns is not None)
            refused = status is not None or job.owner is not None
            self.house.settle(
                job,
                each.how,
                delay=delay,
                verdict="refused" if refused else "unanswered",
                death=death,
            )
        self._let_go(*{each.released for each in closed})

    # --- leases of batches ------------------------------------------------------------

    @precondition(lambda self: self.house.leases)
    @rule()
    def renew(self):
        """After a silence all get a moment of grace; then some are heard of."""
        grace, ticks = self.luck.choice([(5, 60), (60, 5)])
        near = {
            id_
            for id_, held in self.house.leases.items()
            if held.deadline < self.house.now + grace
        }
        granted = leases.grant_grace(self.conn, grace=grace * TICK)
        assert self.do(granted) == len(near)
        self.house.extend(near, grace)

        asked = self.some(list(self.house.leases), at_least=1)
        asked += [each.lease for each in self.some(self.holdings)]
        kept = self.do(
            leases.renew(self.conn, lease_ids=set(asked), lease=ticks * TICK)
        )
        assert kept == set(asked) & self.house.leases.keys()
        self.house.extend(kept, ticks)

    @precondition(lambda self: self.house.leases)
    @rule()
    def recover(self):
        """A lease runs out: not at its deadline, but right after, if time counts."""
        every = list(self.house.leases)
        chosen = self.luck.choice(every)
        lease, limit = self.house.leases[chosen], self.luck.choice([1, 10])
        self._take_up(self.luck.choice([[], [chosen], every]))
        if self.luck.random() < 0.5:
            # Some of it is in other hands by then.
            mine = [each for each in self.house.live() if each.lease == chosen]
            self._settle([(each, "released") for each in mine[:1]])
            if self.house.in_place(Place.READY):
                self._claim(count=9, ticks=90)
        self.wait(lease.deadline - self.house.now)
        self._recover(limit=limit)
        self.wait(1)
        # Postgres stood still since: whoever looks now looks at what was then.
        self._recover(limit=limit, as_of=lease.deadline)
        self._recover(limit=limit)

    def _take_up(self, lease_ids):
        self.do(leases.note_taken_up(self.conn, lease_ids=lease_ids))
        for id_ in lease_ids:
            self.house.leases[id_].taken_up = True

    def _recover(self, *, limit, as_of=None):
        then = self.house.now if as_of is None else as_of
        run_out = self.house.run_out(as_of=then)

        recovered, more = self.do(
            leases.recover(self.conn, limit=limit, as_of=self.moment(as_of))
        )

        held = {job.id: job.lease for job in self.house.in_place(Place.LEASED)}
        hopeless = self.house.recover(run_out[:limit])
        assert more == (len(run_out) >= limit)
        assert {each.job_id: each.dead for each in recovered} == hopeless
        for each in recovered:
            assert each.lease_id == held[each.job_id]
            assert each.lane_id == self.house.jobs[each.job_id].lane_id
        self._let_go(*{each.released for each in recovered})

    # --- leases of workers ------------------------------------------------------------

    def _held(self):
        """The jobs that workers have, in time or not."""
        return [job for job in self.house.in_place(Place.LEASED) if job.owner]

    @precondition(lambda self: self._held())
    @rule()
    def renew_work(self):
        """Workers keep what they have, for longer or shorter, and what they had."""
        asked = self.some([each for each in self.house.live() if each.owner])
        asked += self.some([each for each in self.holdings if each.owner])
        asked += [each for each in self._strangers() if each.owner]
        told = [(each, self.luck.choice([3, 60])) for each in asked]

        renewed = self.do(
            leases.renew_work(
                self.conn,
                renewals=[
                    Renewed(
                        job_id=each.job_id,
                        lease_id=each.lease,
                        owner=each.owner or "",
                        organization_id=each.organization_id,
                        queues=None,
                        lease=ticks * TICK,
                    )
                    for each, ticks in told
                ],
            )
        )

        live = {n for n, (each, _) in enumerate(told) if self.house.is_live(each)}
        assert renewed == {
            n: self.moment(self.house.now + told[n][1]) for n in sorted(live)
        }
        for job_id in {told[n][0].job_id for n in live}:
            # Asked for twice at once, the longer one holds.
            self.house.jobs[job_id].deadline = self.house.now + max(
                told[n][1] for n in live if told[n][0].job_id == job_id
            )

    @precondition(lambda self: self._held())
    @rule()
    def recover_work(self):
        """A worker's lease runs out: not at its deadline, but right after."""
        job = self.luck.choice(self._held())
        limit = self.luck.choice([1, 10])
        late = Holding(job.id, job.lease, job.owner, job.line.organization_id)
        self.wait(job.deadline - self.house.now)
        self._recover_work(limit=limit)
        if self.luck.random() < 0.5:
            # Too late is too late, whether or not somebody has noticed.
            self._settle([(late, self.luck.choice(HOWS))])
        self.wait(1)
        self._recover_work(limit=limit)

    def _recover_work(self, *, limit):
        run_out = self.house.work_run_out()
        first = sorted(job.deadline or 0 for job in run_out)[:limit]
        held = {job.id: (job.lease, job.deadline or 0) for job in run_out}

        recovered = self.do(leases.recover_work(self.conn, limit=limit))

        assert {each.job_id for each in recovered} <= held.keys()
        assert sorted(held[each.job_id][1] for each in recovered) == first
        for each in recovered:
            job = self.house.jobs[each.job_id]
            assert (each.lease_id, each.lane_id) == (held[job.id][0], job.lane_id)
            assert each.dead == self.house.recover_work(job)
        self._let_go(*{each.released for each in recovered})

    @precondition(lambda self: self._held())
    @rule()
    def go_home(self):
        """A worker gives back what it holds, or is not heard of any more."""
        job = self.luck.choice(self._held())
        mine = [
            each
            for each in self._held()
            if each.owner == job.owner
            and each.line.organization_id == job.line.organization_id
            and each.deadline > self.house.now
        ]
        if self.luck.random() < 0.5:
            expired = leases.expire_leases_of(
                self.conn, workers=[(job.line.organization_id, job.owner)]
            )
            assert set(self.do(expired)) == {each.id for each in mine}
            for each in mine:
                each.deadline = self.house.now
            return
        released = leases.release_work(
            self.conn, organization_id=job.line.organization_id, owner=job.owner
        )
        assert {each.job_id for each in self.do(released)} == {each.id for each in mine}
        for each in mine:
            self.house.settle(each, "released", delay=0, verdict="", death="")
