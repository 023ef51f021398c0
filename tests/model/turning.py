"""Jobs that take turns, and who is called."""

from hypothesis.stateful import precondition, rule

from libs.common.lifecycle import Place
from libs.common.store import lines
from libs.common.store.lines import Line
from tests.model.working import Working


class Turning(Working):
    """Somebody looks at the lines that others joined or left."""

    @precondition(lambda self: self.house.turns.noted)
    @rule()
    def call(self):
        """Somebody looks once, or until there is nothing left to be seen."""
        self._call(looks=self.luck.choice([1, 99, 99]))

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
