"""Lines, told in Python: who stands where, and whose turn it is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from libs.common.store.lines import Line


@dataclass
class Turns:
    """All lines: those that stand in them, in the order of their coming."""

    widths: dict[Line, int] = field(default_factory=dict)
    order: dict[Line, list[UUID]] = field(default_factory=dict)
    called: set[UUID] = field(default_factory=set)
    #: Lines that somebody joined or left since somebody looked at them.
    noted: set[Line] = field(default_factory=set)

    def join(self, line: Line, job_id: UUID) -> None:
        """Come last."""
        self.order.setdefault(line, []).append(job_id)
        self.noted.add(line)

    def leave(self, line: Line | None, job_id: UUID) -> None:
        """Leave, if one stands there."""
        if line is not None and job_id in self.order.get(line, ()):
            self.order[line].remove(job_id)
            self.called.discard(job_id)
            self.noted.add(line)

    def next_of(self, lines: Iterable[Line]) -> list[UUID]:
        """Return who is called when somebody looks at these lines."""
        found = []
        for line in lines:
            waiting = [id_ for id_ in self.order[line] if id_ not in self.called]
            room = self.widths.get(line, 1) - (len(self.order[line]) - len(waiting))
            found += waiting[: max(room, 0)]
        return found

    def rows(self) -> list[tuple[str, str, UUID, bool]]:
        """Return everybody as the table has them, line by line, in order."""
        return [
            (line.scope, line.key, job_id, job_id in self.called)
            for line, order in sorted(self.order.items(), key=_named)
            for job_id in order
        ]


def _named(item: tuple[Line, list[UUID]]) -> tuple[str, str]:
    return item[0].scope, item[0].key
