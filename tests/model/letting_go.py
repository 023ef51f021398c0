"""Who need not wait any more: for other jobs, or for their turn."""

from libs.common.lifecycle import Place
from libs.common.store import lines
from libs.common.store.lines import Line
from tests.model.scene import Scene


class LettingGo(Scene):
    """What comes of it, for others, that jobs end."""

    def _let_go(self, *told):
        """Let go who need not wait any more, as was *told*."""
        standing = {job.id: job.place for job in self.house.standing()}
        self.house.release()
        moved = [
            job for job in self.house.standing() if job.place is not standing[job.id]
        ]
        self._take_positions([job for job in moved if job.place is Place.HELD])
        gone = [job for job in moved if job.place is Place.FINISHED]
        assert sum(each.unblocked for each in told) == len(moved) - len(gone)
        assert sum(each.cancelled for each in told) == len(gone)
        assert sum(each.left_over for each in told) == 0
        ready = [job for job in moved if job.place is Place.READY]
        lanes = {(id_, True) for each in told for id_ in each.push_lanes}
        lanes |= {(id_, False) for each in told for id_ in each.work_lanes}
        assert lanes == {(job.lane_id, job.line.push) for job in ready}
        assert sum(each.joined for each in told) == sum(
            job.place is Place.HELD for job in moved
        )
        if sum(each.joined for each in told):
            self._call(looks=self.luck.choice([0, 9]))

    def _cancelled(self, released, expected):
        """One job was cancelled if it was *expected*."""
        assert (released is not None) == expected
        if expected:
            self._let_go(released)

    def _take_positions(self, joined):
        """Of those that joined at once, who was looked at first comes first."""
        rows = self.do(self.conn.fetch("SELECT job_id FROM lines ORDER BY position"))
        joined = {job.id for job in joined}
        for line, order in self.house.turns.order.items():
            found = [row["job_id"] for row in rows if row["job_id"] in order]
            settled = [id_ for id_ in order if id_ not in joined]
            assert found[: len(settled)] == settled
            assert sorted(found) == sorted(order)
            self.house.turns.order[line] = found

    def _call(self, *, looks):
        limit = self.luck.choice([1, 2, 100])
        for _ in range(looks):
            if not self.house.turns.noted:
                return
            checks = self.do(lines.look(self.conn, limit=limit))
            assert 0 < len(checks) <= limit
            looked = {Line(check.scope, check.key) for check in checks}
            assert looked <= self.house.turns.noted

            found = self.do(lines.call(self.conn, checks=checks))

            rows = self.do(self.conn.fetch("SELECT id, scope, key FROM line_checks"))
            assert not {row["id"] for row in rows} & {check.id for check in checks}
            called = self.house.call(looked)
            # One look may not see everything that was noted of a line.
            left = {Line(row["scope"], row["key"]) for row in rows}
            self.house.turns.noted |= left & looked
            assert found.called == len(called)
            ready = {
                (job.lane_id, job.line.push)
                for job in called
                if job.place is Place.READY
            }
            assert {(id_, True) for id_ in found.push_lanes} | {
                (id_, False) for id_ in found.work_lanes
            } == ready
