"""Two processes on the same jobs, each in a transaction of its own, and either may die.

Between any two statements a process commits, takes back what it did, or is cut off; the
other is somewhere in a transaction meanwhile.  `Ledger` says what each statement must
answer to each of them, and what is left.  Who would have to wait for the other is told
so after a moment, and takes everything back, as whoever meets a deadlock does.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from libs.common.db import BY_KEY
from libs.common.store import interventions, leases, settlement, timers
from tests.chaos.tables import broken_invariants
from tests.model.ledger import ENDED, OPEN, Draft, Job, Lease, Ledger
from tests.support import stock

_EMPTY = """
TRUNCATE jobs, ready, scheduled, waiting, held, leases, leased, finished, dead,
         attempts, journal, idempotency, expiries, dependencies, rechecks, lines,
         line_checks, tallies
"""
_STANDING = """
SELECT job_id, place::text, lease_id, attempt, retry_count,
       (SELECT count(*) FROM attempts WHERE attempts.job_id = places.job_id),
       (SELECT count(*) FROM journal
         WHERE journal.job_id = places.job_id
           AND transition IN ('completed', 'deadlettered', 'quarantined', 'cancelled',
                              'expired'))
  FROM places
"""
_LATER = (
    "UPDATE leases SET deadline = now() - interval '1 s'",
    "UPDATE leased SET deadline = now() - interval '1 s' WHERE owner IS NOT NULL",
    "UPDATE scheduled SET run_at = now() - interval '1 s'",
)
_WAITED = (
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.DeadlockDetectedError,
)
_SETTINGS = {**BY_KEY, "jit": "off", "lock_timeout": "60ms"}
_HOURS = timedelta(hours=1)
_HOWS = ("completed", "retrying", "deadlettered", "released")
_CROWD = 10


class Scene:
    """The database that all examples share, who watches it, and what was seen."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = uvloop.new_event_loop()
        # Whoever clears the tables waits for what cleans them up.
        self.watch = self.connect(lock_timeout="0")
        self.lines = [
            self.do(stock.open_line(self.watch, queue_name=queue, push=push))
            for queue, push in (("mail", True), ("work", False))
        ]
        self.seen: set[str] = set()

    def do(self, coroutine) -> Any:
        """Wait for *coroutine*."""
        return self.loop.run_until_complete(coroutine)

    def connect(self, **settings: str) -> Any:
        settings = _SETTINGS | settings
        return self.do(asyncpg.connect(self.url, server_settings=settings))

    def close(self) -> None:
        self.do(self.watch.close())
        self.loop.close()


class Hand:
    """One process: its connection, and what it did there and has not committed."""

    def __init__(self, scene: Scene, ledger: Ledger) -> None:
        self.scene = scene
        self.conn = scene.connect()
        self.draft = Draft(base=ledger)
        self.transaction: Any = None

    def begin(self):
        if self.transaction is None:
            self.transaction = self.conn.transaction()
            self.scene.do(self.transaction.start())

    def commit(self):
        self.scene.do(self.transaction.commit())
        self.transaction = None
        self.draft.commit()

    def take_back(self):
        self.scene.do(self.transaction.rollback())
        self.transaction = None
        self.draft.forget()

    def die(self):
        """Be cut off; another takes its place."""
        self.close()
        self.conn = self.scene.connect()
        self.transaction = None
        self.draft.forget()

    def close(self):
        pid = self.conn.get_server_pid()
        self.conn.terminate()
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
        while not self.scene.do(self.scene.watch.fetchval(gone, pid)):
            pass


class Hands(RuleBasedStateMachine):
    """The statements, by whichever of the two, in any order."""

    scene: ClassVar[Scene]

    def __init__(self) -> None:
        super().__init__()
        self.do, self.seen = self.scene.do, self.scene.seen
        self.do(self.scene.watch.execute(_EMPTY))
        self.ledger = Ledger()
        self.hands = [Hand(self.scene, self.ledger) for _ in range(2)]
        #: All that was ever handed out: also what was lost with who had it.
        self.handed: list[tuple[Any, Any]] = []

    def teardown(self) -> None:
        for hand in self.hands:
            hand.close()

    @initialize(luck=st.randoms(use_true_random=True))
    def sit_down(self, luck):
        self.luck = luck
        self.create()

    def _act(self, statement, *, for_good=False):
        """Let one of the two carry a statement out, and mostly go on after it."""
        hand, other = self.luck.sample(self.hands, 2)
        hand.begin()
        known = dict(hand.draft.all_jobs())
        try:
            statement(hand, other.draft.before.keys())
        except _WAITED:
            assert other.transaction is not None
            self.seen.add("waited")
            hand.take_back()
            return
        changed = {id_ for id_, job in hand.draft.jobs.items() if job != known.get(id_)}
        assert not changed & other.draft.before.keys(), "two changed the same job"
        chance = self.luck.random()
        if for_good or chance < 0.45:
            hand.commit()
        elif chance < 0.6:
            self.seen.add("taken back" if hand.draft.jobs else "nothing taken back")
            hand.take_back()
        elif chance < 0.75:
            self.seen.add("died" if hand.draft.jobs else "died idle")
            hand.die()

    # --- what anybody does: each is one statement -------------------------------------

    @precondition(lambda self: len(self._open()) < _CROWD)
    @rule()
    def create(self):
        line, retries = self.luck.choice(self.scene.lines), self.luck.randint(0, 2)

        def statement(hand, _):
            for id_ in self.do(stock.create(hand.conn, line, 2, max_retries=retries)):
                hand.draft.put(id_, Job(line, retries))

        self._act(statement)

    def _open(self):
        return [job for job in self.ledger.jobs.values() if job.place not in ENDED]

    @rule()
    def claim(self):
        self._claim(self.luck.choice(self.scene.lines), count=self.luck.randint(1, 3))

    def _claim(self, line, *, count, for_good=False):
        def statement(hand, _):
            claimed = self.do(
                stock.claim(hand.conn, line, count, seconds=3600, owner="worker")
            )
            assert len({one.job_id for one in claimed}) == len(claimed) <= count
            for one in claimed:
                job = hand.draft.job(one.job_id)
                assert job is not None
                assert (job.place, job.line) == ("ready", line)
                if line.push:
                    hand.draft.leases[one.lease_id] = Lease()
                hand.draft.put(one.job_id, job.claimed(one.lease_id))
                assert one.attempt == job.attempt + 1
            self.handed += [(line, one) for one in claimed]

        self._act(statement, for_good=for_good)

    @precondition(lambda self: self.handed)
    @rule()
    def settle(self):
        """Holders tell how it went: some are holders no more."""

        def statement(hand, _):
            told = {}
            for line, one in self._some_handed(hand):
                how = self.luck.choice(_HOWS)
                make = stock.ended if line.push else stock.worked
                arguments = (one, how) if line.push else (line, one, how)
                told[one.job_id] = make(*arguments)
            closed = self.do(
                settlement.settle(
                    hand.conn,
                    attempts=[told[id_] for id_ in sorted(told)],
                    actor="dispatcher",
                )
            )
            expected = {id_ for id_, one in told.items() if self._is_live(hand, one)}
            assert {one.job_id for one in closed} == expected
            for one in closed:
                job = hand.draft.job(one.job_id)
                hand.draft.put(one.job_id, job.settled(told[one.job_id].how))
                self.seen.add(one.how)

        self._act(statement)

    def _some_handed(self, hand):
        """Return some that are held, some handed out lately, and one of whenever."""
        held = [(line, one) for line, one in self.handed if self._is_live(hand, one)]
        return [
            *self.luck.sample(held, min(2, len(held))),
            *self.luck.sample(self.handed[-6:], min(2, len(self.handed))),
            self.luck.choice(self.handed),
        ]

    def _is_live(self, hand, told):
        job = hand.draft.job(told.job_id)
        return job is not None and job.lease == told.lease_id and not job.over

    @precondition(lambda self: self.handed)
    @rule()
    def keep(self):
        """Pods are heard of, and workers send signs of life."""

        def statement(hand, _):
            some = self._some_handed(hand)
            asked = {one.lease_id for line, one in some if line.push}
            if self.luck.random() < 0.5:
                self.do(leases.note_taken_up(hand.conn, lease_ids=asked))
                self._change_leases(hand, asked, taken_up=True)
            kept = self.do(leases.renew(hand.conn, lease_ids=asked, lease=_HOURS))
            assert kept == {id_ for id_ in asked if hand.draft.lease(id_)}
            self._change_leases(hand, kept, over=False)
            renewals = [
                stock.renewal(line, one, seconds=3600)
                for line, one in some
                if not line.push
            ]
            renewed = self.do(leases.renew_work(hand.conn, renewals=renewals))
            assert renewed.keys() == {
                n for n, one in enumerate(renewals) if self._is_live(hand, one)
            }

        self._act(statement)

    def _change_leases(self, hand, ids, **changes):
        for id_ in ids:
            lease = hand.draft.lease(id_)
            hand.draft.leases[id_] = lease and replace(lease, **changes)

    @precondition(lambda self: self.ledger.leases)
    @rule()
    def recover(self):
        """Leases of batches have run out, but for those that another keeps just now."""

        def statement(hand, _):
            [other] = [one for one in self.hands if one is not hand]
            gone = {
                id_: lease
                for id_, lease in hand.draft.all_leases().items()
                if lease.over and id_ not in other.draft.leases
            }
            recovered, _ = self.do(leases.recover(hand.conn, limit=1000))
            lost = {
                id_: job
                for id_, job in hand.draft.all_jobs().items()
                if job.lease in gone
            }
            assert {one.job_id for one in recovered} == lost.keys()
            for one in recovered:
                job = lost[one.job_id]
                after = job.recovered(taken_up=gone[job.lease].taken_up)
                assert one.dead == (after.place == "dead")
                hand.draft.put(one.job_id, after)
                self.seen.add("quarantined" if one.dead else "recovered")
            hand.draft.leases |= dict.fromkeys(gone)

        self._act(statement)

    @rule()
    def recover_work(self):
        """Workers were silent for too long."""

        def statement(hand, theirs):
            lost = {
                id_
                for id_, job in hand.draft.all_jobs().items()
                if job.over and job.place == "leased" and id_ not in theirs
            }
            recovered = self.do(leases.recover_work(hand.conn, limit=1000))
            assert {one.job_id for one in recovered} == lost
            for one in recovered:
                after = hand.draft.job(one.job_id).overslept()
                assert one.dead == (after.place == "dead")
                hand.draft.put(one.job_id, after)
                self.seen.add("given up" if one.dead else "overslept")

        self._act(statement)

    @rule()
    def promote(self):
        """What is to be tried again is due."""

        def statement(hand, theirs):
            due = {
                id_: job
                for id_, job in hand.draft.all_jobs().items()
                if job.over and job.place == "scheduled" and id_ not in theirs
            }
            promoted = self.do(timers.promote_due(hand.conn, limit=1000))
            assert sum(one.jobs for one in promoted) == len(due)
            for id_, job in due.items():
                hand.draft.put(id_, replace(job, place="ready", over=False))
                self.seen.add("promoted")

        self._act(statement)

    @precondition(lambda self: self.ledger.jobs)
    @rule(work=st.booleans())
    def cancel(self, work):
        """Somebody cancels a job, in work or not, over or not."""

        def statement(hand, theirs):
            id_, job = self.luck.choice(sorted(hand.draft.all_jobs().items()))
            cancel = interventions.cancel_in_work if work else interventions.cancel
            found = self.do(
                cancel(
                    hand.conn,
                    organization_id=job.line.organization_id,
                    job_id=id_,
                    actor="key",
                )
            )
            places = ("leased",) if work else OPEN
            assert found is None or id_ not in theirs
            assert (found is not None) == (job.place in places) or id_ in theirs
            if found is not None:
                hand.draft.put(id_, job.cancelled())
                self.seen.add("cancelled")

        self._act(statement)

    @rule()
    def retry(self):
        """Somebody lets the dead start over."""

        def statement(hand, theirs):
            for line in self.scene.lines:
                dead = {
                    id_
                    for id_, job in hand.draft.all_jobs().items()
                    if job.line == line and job.place == "dead"
                }
                requeued = self.do(
                    interventions.requeue(
                        hand.conn,
                        organization_id=line.organization_id,
                        job_ids=dead,
                        actor="key",
                    )
                )
                assert {one.job_id for one in requeued} == dead - theirs
                for id_ in dead - theirs:
                    hand.draft.put(id_, hand.draft.job(id_).requeued())
                    self.seen.add("requeued")

        self._act(statement)

    @rule()
    def die_of_it(self):
        """All that is ready takes its process along, again and again."""
        for _ in range(self.luck.randint(1, 4)):
            for line in self.scene.lines:
                self._claim(line, count=9, for_good=True)
            if self.handed and self.luck.random() < 0.8:
                self.keep()
            self.let_time_pass()
            self.recover()
            self.recover_work()

    @rule()
    def let_time_pass(self):
        """Both come to an end with what they did, and everybody's time runs out."""
        for hand in self.hands:
            if hand.transaction is not None:
                self.luck.choice([hand.commit, hand.take_back])()
        for statement in _LATER:
            self.do(self.scene.watch.execute(statement))
        self.ledger.let_time_pass()

    # --- what must be so --------------------------------------------------------------

    @invariant()
    def the_tables_agree_with_themselves(self):
        assert self.do(broken_invariants(self.scene.watch)) == []

    @invariant()
    def what_is_committed_stands_and_nothing_else(self):
        rows = self.do(self.scene.watch.fetch(_STANDING))
        assert {row[0]: tuple(row)[1:] for row in rows} == {
            id_: (*job.row(), job.ends) for id_, job in self.ledger.jobs.items()
        }
