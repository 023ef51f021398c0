"""Every actor there is, on the real tables, in any order, under a clock of the test's.

Each example is one transaction that is undone at its end: quick, and ``now()`` stands
still in it.  Time passes by moving what the rows say of time into the past.  `House`
predicts what every statement does; after each step the tables must agree with it.
"""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import asyncpg
import uvloop
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

from libs.common.db import BY_KEY
from libs.common.ids import first_id_at, new_id
from libs.common.lifecycle import Place
from libs.common.store import claims, interventions, invariants, jobs, leases
from libs.common.store import settlement, timers
from libs.common.store.settlement import Settled
from tests.support import stock
from tests.support.expectation import OPEN, House, Job, Lease

#: More open jobs than this at a time show nothing new.
CROWD = 12
ASIDE = (Place.WAITING, Place.HELD)
HOWS = ("completed", "retrying", "deadlettered", "released", "expired")

LOOK = """
WITH crashes AS (
    SELECT job_id, crash_count FROM ready
    UNION ALL SELECT job_id, crash_count FROM scheduled
    UNION ALL SELECT job_id, crash_count FROM held
    UNION ALL SELECT job_id, crash_count FROM leased
)
SELECT job_id, place, lane_id, rank, attempt, retry_count, crash_count, lease_id, ending
  FROM places LEFT JOIN crashes USING (job_id)
"""
BESIDE = """
SELECT (SELECT array_agg(id) FROM jobs) AS jobs,
       (SELECT array_agg((organization_id, key, job_id)) FROM idempotency) AS keys,
       (SELECT array_agg((job_id, attempt, verdict::text)) FROM attempts) AS attempts,
       (SELECT array_agg(job_id) FROM expiries) AS expiries,
       (SELECT array_agg((id, push, extract(epoch FROM deadline - now())::float8))
          FROM leases) AS leases,
       (SELECT array_agg((job_id, transition::text, attempt)) FROM journal
         WHERE seq > $1) AS told,
       (SELECT max(seq) FROM journal) AS seq
"""
#: Every moment that a row knows, moved into the past.
LATER = (
    "UPDATE ready SET ready_at = ready_at - $1::interval",
    "UPDATE scheduled SET run_at = run_at - $1::interval",
    "UPDATE leases SET deadline = deadline - $1::interval,"
    " claimed_at = claimed_at - $1::interval",
    "UPDATE expiries SET expires_at = expires_at - $1::interval",
    "UPDATE jobs SET expires_at = expires_at - $1::interval"
    " WHERE expires_at IS NOT NULL",
    "UPDATE dead SET died_at = died_at - $1::interval",
)


class Stage:
    """A connection on a loop of its own, and the lanes that all examples share."""

    def __init__(self, url: str) -> None:
        self.loop = uvloop.new_event_loop()
        self.conn = self.do(
            asyncpg.connect(url, server_settings={"jit": "off", **BY_KEY})
        )
        for table in ("ready", "scheduled", "leased", "leases", "held", "waiting"):
            # Where rows stand on disk, and so the examples, must not depend on it.
            self.do(
                self.conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            )
        acme, other = new_id(), new_id()
        self.lines = [
            self.do(
                stock.open_line(
                    self.conn, organization_id=id_, queue_name=queue, push=push
                )
            )
            for id_, queue, push in (
                (acme, "mail", True),
                (acme, "bills", True),
                (other, "mail", True),
                (acme, "work", False),
            )
        ]

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.do(self.conn.close())
        self.loop.close()


class Places(RuleBasedStateMachine):
    """The store, and what it should do."""

    stage: Stage
    seen: Counter

    def __init__(self) -> None:
        super().__init__()
        self.conn = self.stage.conn
        self.house = House(seen=self.seen)
        #: Every (job, lease) that was ever handed out.
        self.holdings: list[tuple[UUID, UUID]] = []
        self.transaction = self.conn.transaction()
        self.do(self.transaction.start())
        now, self.seq = self.do(
            self.conn.fetchrow(
                "SELECT now(), coalesce((SELECT max(seq) FROM journal), 0)"
            )
        )
        self.began = now
        self.births = first_id_at(now).int | 0x7000_8000_0000_0000_0000

    def teardown(self) -> None:
        self.do(self.transaction.rollback())

    def do(self, coroutine):
        return self.stage.do(coroutine)

    def moment(self, seconds: float | None):
        """Return a moment of the model's clock as Postgres is to see it now."""
        if seconds is None:
            return None
        return self.began + timedelta(seconds=seconds - self.house.now)

    def some(self, data, choices, *, at_most=3) -> list:
        return data.draw(st.lists(st.sampled_from(choices), max_size=at_most))

    # --- into the house ----------------------------------------------------------------

    def _wanted(self, data, line) -> Job:
        self.births += 1
        now = self.house.now
        run_in = data.draw(st.sampled_from([None, None, -5, 0, 5, 30]))
        expires_in = data.draw(st.sampled_from([None, None, None, 0, 20, 90]))
        return Job(
            id=UUID(int=self.births),
            line=line,
            rank=data.draw(st.sampled_from([100, 100, 50])),
            max_retries=data.draw(st.integers(0, 2)),
            run_at=None if run_in is None else now + run_in,
            expires_at=None if expires_in is None else now + expires_in,
            key=data.draw(st.sampled_from([None, None, "one", "two"])),
        )

    @initialize(data=st.data())
    def open_the_doors(self, data):
        self.create(data)

    @precondition(lambda self: len(self.house.in_place(*OPEN)) < CROWD)
    @rule(data=st.data())
    def create(self, data):
        lines = data.draw(
            st.lists(st.sampled_from(self.stage.lines), min_size=4, max_size=8)
        )
        wanted = [self._wanted(data, line) for line in lines]

        created = self.do(jobs.create(self.conn, jobs=[self._new(j) for j in wanted]))

        assert created == self.house.create(wanted)
        asked = {job.owner_key for job in wanted if job.key}
        holders = self.do(jobs.find_by_keys(self.conn, keys=sorted(asked)))
        assert {key: holder.job_id for key, holder in holders.items()} == {
            key: self.house.keys[key] for key in asked
        }

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

    @precondition(lambda self: len(self.house.in_place(*ASIDE)) < 2)
    @rule(
        data=st.data(),
        places=st.lists(
            st.sampled_from(ASIDE), min_size=2, max_size=4
        ),
    )
    def put_aside(self, data, places):
        """Nothing creates such jobs yet, but cancel and expire know them."""
        for place in places:
            job = self._wanted(data, data.draw(st.sampled_from(self.stage.lines)))
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

    @precondition(lambda self: self.house.in_place(Place.READY))
    @rule(
        push=st.booleans(),
        count=st.sampled_from([5, 2, 1]),
        lease_jobs_max=st.integers(1, 3),
        seconds=st.sampled_from([30, 10]),
    )
    def claim(self, push, count, lease_jobs_max, seconds):
        lines = [line for line in self.stage.lines if line.push == push]
        expected = [job for line in lines for job in self.house.next_of(line, count)]

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
        assert not self.house.leases.keys() & sizes.keys()
        for each in sorted(claimed, key=lambda each: each.job_id):
            lease = Lease(push, self.house.now + seconds, [])
            self.house.leases.setdefault(each.lease_id, lease).jobs.append(each.job_id)
            self.house.jobs[each.job_id].lease = each.lease_id
            self.holdings.append((each.job_id, each.lease_id))
        assert max(sizes.values(), default=0) <= lease_jobs_max

    def _live(self) -> list[tuple[UUID, UUID]]:
        return [(job.id, job.lease) for job in self.house.in_place(Place.LEASED)]

    @precondition(lambda self: self.house.in_place(Place.READY))
    @rule(
        data=st.data(),
        how=st.sampled_from(["dies", "dies", *HOWS]),
        push=st.booleans(),
    )
    def work(self, data, how, push):
        """Somebody takes everything up, and gets to the end of it or dies."""
        self.claim(push=push, count=5, lease_jobs_max=3, seconds=10)
        if how != "dies":
            self._settle(data, [(pair, how) for pair in self._live()])
            return
        self._pass(11)
        self._recover(push=push, limit=99, never=set())

    @precondition(lambda self: self._live())
    @rule(data=st.data(), how=st.sampled_from(HOWS))
    def settle(self, data, how):
        """The holders tell how it went; some of them are holders no more."""
        told = data.draw(st.lists(st.sampled_from(self._live()), min_size=1))
        told += self.some(data, self.holdings, at_most=2)
        self._settle(data, [(pair, how) for pair in told])

    @precondition(lambda self: self._live())
    @rule(data=st.data())
    def settle_anything(self, data):
        """Whoever ever held a lease, or none, tells anything, more than once."""
        pairs = st.sampled_from(self._live() + self.holdings)
        strangers = st.tuples(
            st.sampled_from([job for job, _ in self.holdings]),
            st.sampled_from([lease for _, lease in self.holdings] + [UUID(int=0)]),
        )
        told = data.draw(
            st.lists(
                st.tuples(pairs | strangers, st.sampled_from(HOWS)),
                min_size=1,
                max_size=4,
            )
        )
        self._settle(data, told)

    def _settle(self, data, told):
        delay = data.draw(st.sampled_from([0.0, 10.0]))
        status = data.draw(st.sampled_from([500, None]))
        death = data.draw(st.sampled_from(["attempts_exhausted", "gone"]))
        live = set(self._live())
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
        for each in closed:
            job = self.house.jobs[each.job_id]
            assert each.how in asked[each.job_id, each.lease_id]
            assert each.lane_id == job.line.id
            verdict = "refused" if status else "unanswered"
            self.house.settle(
                job, each.how, delay=delay, verdict=verdict, death=death
            )

    # --- leases ------------------------------------------------------------------------

    @precondition(lambda self: self._live())
    @rule(data=st.data(), grace=st.sampled_from([60, 5]), lease=st.sampled_from([5, 60]))
    def renew(self, data, grace, lease):
        """After a silence all get a moment of grace; then some are heard of."""
        near = {
            id_
            for id_, held in self.house.leases.items()
            if held.push and held.deadline < self.house.now + grace
        }
        granted = leases.grant_grace(self.conn, grace=timedelta(seconds=grace))
        assert self.do(granted) == len(near)
        self._extend(near, grace)

        live = st.sampled_from([lease for _, lease in self._live()])
        asked = data.draw(st.sets(live, min_size=1))
        asked |= set(self.some(data, [lease for _, lease in self.holdings]))
        kept = self.do(
            leases.renew(self.conn, lease_ids=asked, lease=timedelta(seconds=lease))
        )
        assert kept == asked & self.house.leases.keys()
        self._extend(kept, lease)

    def _extend(self, ids, seconds):
        for id_ in ids:
            held = self.house.leases[id_]
            held.deadline = max(held.deadline, self.house.now + seconds)

    @precondition(lambda self: self._live())
    @rule(data=st.data(), limit=st.sampled_from([10, 1]), heard_of=st.booleans())
    def recover(self, data, limit, heard_of):
        """A lease runs out: not at its deadline, but right after."""
        chosen = data.draw(st.sampled_from([lease for _, lease in self._live()]))
        lease = self.house.leases[chosen]
        never = set() if heard_of else {chosen}
        self._pass(max(0, lease.deadline - self.house.now))
        self._recover(push=lease.push, limit=limit, never=never)
        self._pass(1)
        self._recover(push=lease.push, limit=limit, never=never)

    def _recover(self, *, push, limit, never):
        deadlines = [x.deadline for x in self.house.leases.values() if x.push == push]
        runs_out = self.do(leases.runs_out(self.conn, push=push))
        assert runs_out == (min(deadlines) - self.house.now if deadlines else None)

        recovered = self.do(
            leases.recover(self.conn, push=push, limit=limit, never_taken_up=never)
        )

        held = {job_id: self.house.jobs[job_id].lease for job_id, _ in self.holdings}
        hopeless = self.house.recover(push=push, limit=limit, never=never)
        assert {each.job_id: each.dead for each in recovered} == hopeless
        for each in recovered:
            assert each.lease_id == held[each.job_id]
            assert each.lane_id == self.house.jobs[each.job_id].line.id

    # --- time --------------------------------------------------------------------------

    def _pass(self, seconds):
        self.house.now += seconds
        if seconds:
            for statement in LATER:
                self.do(self.conn.execute(statement, timedelta(seconds=seconds)))

    @precondition(lambda self: self.house.in_place(Place.SCHEDULED))
    @rule(
        data=st.data(),
        limit=st.sampled_from([10, 1]),
        early=st.sampled_from([0, 1]),
    )
    def promote_due(self, data, limit, early):
        """Somebody's time comes, or will in a moment."""
        job = data.draw(st.sampled_from(self.house.in_place(Place.SCHEDULED)))
        self._pass(max(0, job.run_at - self.house.now - early))
        moments = [job.run_at for job in self.house.in_place(Place.SCHEDULED)]
        following = self.do(timers.next_due(self.conn))
        assert following == min(moments) - self.house.now
        due = self.house.due(limit)

        promoted = self.do(timers.promote_due(self.conn, limit=limit))

        assert promoted == Counter(job.line.id for job in due)
        for job in due:
            self.house.promote(job)

    @precondition(lambda self: self._may_expire())
    @rule(data=st.data(), limit=st.sampled_from([10, 1]), early=st.sampled_from([0, 1]))
    def expire(self, data, limit, early):
        """Somebody's time to run passes, or will in a moment."""
        job = data.draw(st.sampled_from(self._may_expire()))
        self._pass(max(0, job.expires_at - self.house.now - early))

        ended = self.do(timers.expire(self.conn, limit=limit))

        assert set(ended) == self.house.expire(limit)
        assert len(ended) == len(set(ended))

    def _may_expire(self) -> list[Job]:
        return [job for job in self.house.jobs.values() if job.expiry_stands]

    # --- by hand -----------------------------------------------------------------------

    def _organizations(self):
        return sorted({line.organization_id for line in self.stage.lines})

    @precondition(lambda self: len(self.house.in_place(*OPEN)) > 3)
    @rule(data=st.data(), place=st.sampled_from(Place))
    def cancel(self, data, place):
        """Cancel what is there, or what is open when nothing is."""
        choices = self.house.in_place(place) or self.house.in_place(*OPEN)
        job = data.draw(st.sampled_from(choices))
        organization_id = data.draw(
            st.sampled_from([job.line.organization_id, *self._organizations()])
        )

        cancelled = self.do(
            interventions.cancel(
                self.conn,
                organization_id=organization_id,
                job_id=job.id,
                actor="key",
            )
        )

        mine = organization_id == job.line.organization_id
        assert cancelled == (mine and self.house.cancel(job))

    @precondition(lambda self: self.house.in_place(Place.DEAD))
    @rule(data=st.data(), queues=st.sampled_from([None, None, ["mail"], ["bills"]]))
    def requeue(self, data, queues):
        organization_id, chosen = self._choose(data, queues)
        assert chosen == self.do(
            interventions.choose_dead(
                self.conn,
                organization_id=organization_id,
                queue_names=queues,
                died_before=None,
                limit=100,
            )
        )
        chosen += self._anything(data, organization_id)

        requeued = self.do(
            interventions.requeue(
                self.conn,
                organization_id=organization_id,
                job_ids=chosen,
                actor="key",
                queue_names=queues,
            )
        )

        assert {each.job_id: (each.lane_id, each.push) for each in requeued} == {
            job.id: (job.line.id, job.line.push)
            for job in self._of(chosen, organization_id)
            if (queues is None or job.line.queue_name in queues)
            and self.house.requeue(job)
        }

    @precondition(lambda self: self.house.in_place(Place.DEAD))
    @rule(data=st.data())
    def purge(self, data):
        organization_id, dead = self._choose(data, None)
        chosen = dead[: data.draw(st.integers(1, 3))]
        chosen += self._anything(data, organization_id)

        purged = self.do(
            interventions.purge(
                self.conn,
                organization_id=organization_id,
                job_ids=chosen,
                actor="key",
            )
        )

        assert purged == sum(
            self.house.purge(job) for job in self._of(chosen, organization_id)
        )

    def _anything(self, data, organization_id) -> list[UUID]:
        """Return jobs that are somebody else's, or not dead at all."""
        dead = [
            job.id
            for job in self.house.in_place(Place.DEAD)
            if job.line.organization_id != organization_id
        ]
        return self.some(data, list(self.house.jobs), at_most=2) + dead[:1]

    def _choose(self, data, queues) -> tuple[UUID, list[UUID]]:
        """Return an organization, and its dead letters in these queues."""
        organization_id = data.draw(
            st.sampled_from(
                [job.line.organization_id for job in self.house.in_place(Place.DEAD)]
            )
        )
        dead = [
            job.id
            for job in self.house.in_place(Place.DEAD)
            if job.line.organization_id == organization_id
            and (queues is None or job.line.queue_name in queues)
        ]
        return organization_id, sorted(dead)

    def _of(self, ids, organization_id) -> list[Job]:
        return [
            self.house.jobs[id_]
            for id_ in set(ids)
            if self.house.jobs[id_].line.organization_id == organization_id
        ]

    # --- what must hold ----------------------------------------------------------------

    @invariant()
    def every_job_is_where_it_should_be(self):
        rows = self.do(self.conn.fetch(LOOK))
        standing = [job for job in self.house.jobs.values() if job.place is not None]

        assert sorted((row[0], tuple(row)[1:]) for row in rows) == sorted(
            (job.id, job.row()) for job in standing
        )

    @invariant()
    def every_job_is_in_one_place_and_its_journal_leads_there(self):
        assert self.do(invariants.misplaced(self.conn)) == []
        assert self.do(invariants.unjournaled(self.conn)) == []

    @invariant()
    def what_stands_beside_the_places_agrees(self):
        row = self.do(self.conn.fetchrow(BESIDE, self.seq))
        house = self.house
        standing = [job for job in house.jobs.values() if job.place is not None]

        assert set(row["jobs"] or ()) == {job.id for job in standing}
        assert set(row["keys"] or ()) == {
            (*key, job_id) for key, job_id in house.keys.items()
        }
        assert set(row["attempts"] or ()) == {
            (job.id, attempt, verdict)
            for job in standing
            for attempt, verdict in job.attempts.items()
        }
        assert set(row["expiries"] or ()) == {
            job.id for job in house.jobs.values() if job.expiry_stands
        }
        assert set(row["leases"] or ()) == {
            (id_, lease.push, lease.deadline - house.now)
            for id_, lease in house.leases.items()
        }
        assert Counter(row["told"] or ()) == Counter(house.told)
        house.told.clear()
        self.seq = row["seq"] or self.seq


def play(database_url: str, *, examples: int, steps: int) -> Counter:
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
