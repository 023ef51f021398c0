"""Watchers without a streamer around them: a feed, who watches, what they are told."""

import asyncio
from contextlib import contextmanager
from uuid import UUID

from libs.common.access import Principal
from libs.common.messages import JobChanged, ResourceChanged
from libs.common.plans import plan_of
from services.streamer.feed import Feed
from services.streamer.frames import unnamed
from services.streamer.watcher import Watcher
from services.streamer.wishes import Topic, Wish

ORGANIZATION = UUID("0191d0a0-0000-7000-8000-000000000001")
JOB = "0191d0a0-0000-7000-8000-0000000000aa"
MAIL = frozenset({Topic("mail")})


def changed(transition="started", number=17, **more):
    return JobChanged(
        **{
            "id": str(number),
            "position": f"700-{number}",
            "type": f"job.{transition}",
            "time": "2026-01-02T03:04:05.678Z",
            "organization_id": str(ORGANIZATION),
            "queue_name": "mail",
            "job_id": JOB,
            "attempt": 1,
            **more,
        }
    )


def resource(type_, queue_name=None):
    return ResourceChanged(
        id="18",
        position="700-18",
        type=type_,
        time="2026-01-02T03:04:05.678Z",
        organization_id=str(ORGANIZATION),
        resource=type_.split(".")[0],
        resource_id="x",
        queue_name=queue_name,
    )


def principal(*queues, organization_id=ORGANIZATION):
    return Principal(
        organization_id=organization_id,
        api_key_id=UUID(int=1),
        queues=queues,
        plan=plan_of("free"),
    )


class Connection(asyncio.WriteTransport):
    """A connection whose other end reads all of it, or nothing."""

    def __init__(self, *, is_read=True):
        self.is_read = is_read
        self.written: list[bytes] = []

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0 if self.is_read else sum(map(len, self.written))

    def write(self, data):
        self.written.append(bytes(data))


class Connected(Watcher):
    """A watcher, and the connection that it is told over."""

    def __init__(self, *arguments, is_read, **more):
        super().__init__(*arguments, **more)
        self.connection = Connection(is_read=is_read)
        self.open(self.connection)


def watcher(
    wish=None,
    *queues,
    bytes_max=100_000,
    door="sse",
    is_read=True,
    spell=unnamed,
    **more,
):
    return Connected(
        principal(*queues, **more),
        wish or Wish(),
        door=door,
        spell=spell,
        credential="sk_live_x",
        bytes_max=bytes_max,
        is_read=is_read,
    )


def feed(**limits):
    house = Feed(
        **{
            "per_organization_max": 3,
            "streams_max": 5,
            "recent_bytes_max": 100_000,
            **limits,
        }
    )
    house.begin((700, 0))
    return house


def hear(house, *events):
    for event in events:
        house.hear(event, event.encode())


@contextmanager
def live(house, one):
    with house.watching(one):
        house.join(one)
        yield


async def taken(house, one):
    """Return the frames that one was told since it was asked last."""
    await house.tell()
    written = b"".join(one.connection.written).decode()
    one.connection.written.clear()
    return written.split("\n\n")[:-1]


async def marks(house, one):
    return [
        frame.partition("\n")[0].removeprefix("id: ")
        for frame in await taken(house, one)
    ]
