"""What a watcher asked for, and whether an event is it (pure)."""

from dataclasses import dataclass

from libs.common import outgoing
from libs.common.access import Principal
from services.streamer.frames import NAMES, Frame, Kind
from services.streamer.tidings import Tiding


@dataclass(frozen=True, slots=True)
class Topic:
    """A queue, a job, one in the other, or everything."""

    queue_name: str | None = None
    job_id: str | None = None

    @property
    def is_broad(self) -> bool:
        """Whether it is about no queue and no job in particular."""
        return self.queue_name is None and self.job_id is None

    def has(self, tiding: Tiding) -> bool:
        """Whether something happened to what it is about."""
        return self.queue_name in {None, tiding.queue_name} and self.job_id in {
            None,
            tiding.job_id,
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What a watcher asked for; absent means everything.

    Several topics are all of them together; a broad one among them is everything.
    """

    topics: frozenset[Topic] = frozenset()
    #: Names of frames, or their types.
    names: frozenset[str] | None = None
    tag: str | None = None
    named: bool = False
    #: Whether the stream is of one job, and ends with it.
    until_end: bool = False
    #: Whether the stream is that of a queue, figures and all (contract 3.3).
    of_queue: bool = False

    @property
    def counts(self) -> bool:
        """Whether it wants to know how many jobs its queues have."""
        if self.names is None:
            return self.of_queue
        return not self.names.isdisjoint({Kind.QUEUE_STATS, NAMES[Kind.QUEUE_STATS]})

    @property
    def everything(self) -> bool:
        """Whether it is about no queue and no job in particular."""
        return not self.topics or any(topic.is_broad for topic in self.topics)

    def takes(self, tiding: Tiding) -> bool:
        """Whether it happened to what was asked for.

        Jobs that tell of jobs are shown to whoever asks for their queue, or for one.
        """
        if self.tag is not None and self.tag not in tiding.tags:
            return False
        if self.everything:
            return tiding.queue_name != outgoing.QUEUE
        return any(topic.has(tiding) for topic in self.topics)

    def wants(self, frame: Frame) -> bool:
        """Whether frames of this kind were asked for."""
        return (
            self.names is None or frame.name in self.names or frame.kind in self.names
        )


def may_see(principal: Principal, tiding: Tiding) -> bool:
    """Whether somebody may be told: a key of some queues, of those queues only."""
    if principal.unrestricted:
        return True
    return (
        tiding.open_to_scoped
        and tiding.queue_name is not None
        and principal.may(tiding.queue_name)
    )
