"""An endpoint that is disabled, enabled again, or deleted, and who tidies up."""

from hypothesis.stateful import precondition, rule

from libs.common.lifecycle import Place, Transition
from libs.common.store import closures, resting
from libs.common.store.resting import Found
from tests.model.turning import Turning
from tests.support.expectation import OPEN

_SWITCH = """
UPDATE endpoints
   SET enabled = $2, disabled_at = CASE WHEN NOT $2 THEN now() END,
       disabled_reason = CASE WHEN NOT $2 THEN 'manual' END
 WHERE id = $1
"""


class Resting(Turning):
    """Jobs of the endpoint are held, go on, or end."""

    def _theirs(self, *places):
        """The endpoint's jobs in these places."""
        return [
            job
            for job in self.house.in_place(*places)
            if job.line == self.stage.endpoint
        ]

    @precondition(lambda self: self._theirs(*OPEN))
    @rule()
    def switch(self):
        """Somebody disables or enables the endpoint, or, for once, deletes it."""
        if self.house.deleted:
            return
        if self.luck.random() < 0.15:
            self._delete()
            return
        self.house.enabled = not self.house.enabled
        self.do(
            self.conn.execute(
                _SWITCH, self.stage.endpoint.endpoint_id, self.house.enabled
            )
        )
        self._tidy(limit=self.luck.choice([1, 10, 10]))

    @precondition(lambda self: self._theirs(Place.READY, Place.HELD))
    @rule()
    def tidy(self):
        """Somebody sees to what stands in the wrong place."""
        self._tidy(limit=self.luck.choice([1, 1, 10]))

    def _tidy(self, *, limit):
        ready = {job.lane_id for job in self._theirs(Place.READY)}
        rest = {job.lane_id for job in self._theirs(Place.HELD) if job.at_rest}
        sleepers = self.do(resting.lanes_at_rest(self.conn, after=0, limit=100))
        risers = self.do(resting.lanes_to_wake(self.conn, after=0, limit=100))
        if self.house.deleted:
            assert sleepers == Found([], sorted(ready), 0)
            assert risers == Found([], sorted(rest), 0)
            self._cancel([*sleepers.gone, *risers.gone])
            return
        enabled = self.house.enabled
        assert sleepers == Found([] if enabled else sorted(ready), [], 0)
        assert risers == Found(sorted(rest) if enabled else [], [], 0)
        # Whoever asks too early, or for the wrong ones, changes nothing.
        lanes = [line.id for line in self.stage.lines if line.push]
        lanes += [self.stage.endpoint.retry_id]

        moved = self.do(resting.hold(self.conn, lanes=lanes, limit=limit))
        woken = self.do(resting.wake(self.conn, lanes=lanes, limit=limit))

        held = [] if enabled else self._rest(ready, limit)
        assert moved == len(held)
        risen = self._rise(rest, limit) if enabled else []
        assert woken == {
            lane_id: sum(job.lane_id == lane_id for job in risen)
            for lane_id in {job.lane_id for job in risen}
        }

    def _delete(self):
        endpoint_id = self.stage.endpoint.endpoint_id
        self.do(
            self.conn.execute(
                "UPDATE endpoints SET deleted_at = now() WHERE id = $1", endpoint_id
            )
        )
        self.house.deleted = True
        [gone] = self.do(resting.deleted_endpoints(self.conn, limit=10))
        assert gone.endpoint_id == endpoint_id
        self._cancel(gone.lanes)
        if self.luck.random() < 0.5:
            return

        removed = self.do(
            resting.remove_endpoint(self.conn, endpoint_id=gone.endpoint_id)
        )

        assert removed == (not self._theirs(Place.LEASED))

    # --- what should come of it -------------------------------------------------------

    def _rest(self, lanes, limit):
        """Hold the first so many of each lane, because the endpoint is disabled."""
        found = [job for lane in lanes for job in self.house.next_of(lane, limit)]
        for job in found:
            self.house.move(job, Transition.HELD, Place.HELD)
        return found

    def _rise(self, lanes, limit):
        """Let so many of each lane go on, the oldest first."""
        found = []
        for lane in lanes:
            held = [
                job
                for job in self._theirs(Place.HELD)
                if job.at_rest and job.lane_id == lane
            ]
            found += sorted(held, key=lambda job: job.id)[:limit]
        for job in found:
            self.house.move(job, Transition.UNBLOCKED, Place.READY)
        return found

    def _cancel(self, lanes):
        expected = [job for job in self._theirs(*OPEN) if job.lane_id in lanes]
        gone = self.do(
            closures.cancel_lanes(self.conn, lanes=lanes, limit=100, actor=None)
        )
        assert gone.jobs == sum(self.house.cancel(job) for job in expected)
        self._let_go(gone.released)
