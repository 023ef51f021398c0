"""What clients, receivers and faults saw, in the order in which they saw it.

Only added to.  Times are `time.monotonic`: all of it happens in one process, so what
stands before was seen before.  The same goes line by line into a file, as JSON.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that somebody saw.

    ``asked_at`` is when they asked, of what is an answer; ``job`` is empty when it is
    of no job.
    """

    at: float
    what: str
    job: str = ""
    asked_at: float = 0.0
    facts: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]


@dataclass
class History:
    """The notes of one run."""

    path: Path
    notes: list[Note] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self):
        self._file = self.path.open("wb")

    def note(self, what: str, job: str = "", *, asked_at: float = 0.0, **facts) -> Note:
        """Add a note of what was seen just now; ids are texts."""
        note = Note(time.monotonic(), what, job, asked_at, facts)
        self.notes.append(note)
        self.counts[what] += 1
        self._file.write(msgspec.json.encode(note) + b"\n")
        return note

    def of(self, *kinds: str) -> Iterator[Note]:
        """Yield the notes of some kinds."""
        return (note for note in self.notes if note.what in kinds)

    def by_job(self, *kinds: str) -> dict[str, list[Note]]:
        """Return the notes of some kinds that are of a job, by job."""
        found: dict[str, list[Note]] = defaultdict(list)
        for note in self.of(*kinds):
            if note.job:
                found[note.job].append(note)
        return found

    def close(self) -> None:
        """Write the file to its end."""
        self._file.close()


def read_history(path: Path) -> list[Note]:
    """Read the notes of a run that was kept."""
    decode = msgspec.json.Decoder(Note).decode
    return [decode(line) for line in path.read_bytes().splitlines()]
