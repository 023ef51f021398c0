"""Watchers: thousands of event streams in one process, that read as little as they can.

``python -m bench.watchers PLAN RESULT`` (JSON files, see `Plan` and `Result`).  All of
them read into one buffer.  Most only count the frames that they are told; a part reads
the time in each, and so how long it was on its way.
"""

import asyncio
import re
import resource
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from bench.records import milliseconds

#: Every frame holds this once, a frame of a new job the other, too.
_FRAME: Final = b"\ndata: {"
_CREATED: Final = b'"type":"JobCreated"'
#: What may be a part of it is read again with what comes next.
_KEPT: Final = len(_CREATED) - 1
_TIMES: Final = re.compile(rb'"JobCreated"[^\n]*"timestamp":"([^"]+)"')
_TAKEN: Final = b"HTTP/1.1 200 "
_CONNECTED: Final = b": connected"
_READ_BYTES: Final = 256 * 1024
#: So many ask at once: a server's queue of callers is not endless.  Who is refused, or
#: hung up on, asks again after a while, as any client does.
_CALLERS: Final = 200
_TRIES_MAX: Final = 10
_AGAIN_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.05
#: Files that a process has open besides its connections.
_OTHER_FILES: Final = 100


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Who watches what, and how much there is to see."""

    port: int
    key: str
    connections: int
    #: What each asks for; ``{queue}`` is the name of one of *queues*, in turn.
    path: str
    queues: list[str]
    #: How many frames of new jobs there are for all of them together.
    expected: int
    #: One in so many reads the times.
    sampled: int = 1
    #: A file that is there once all are being told.
    ready: str
    #: They give up when nothing comes for so long.
    patience_seconds: float = 120.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What they saw: all frames, those of new jobs, and how long these took."""

    frames: int
    created: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    lost: int
    #: The first answer that was no stream.
    refusal: str


class Sight:
    """What all of them see together."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self.lost = 0
        self.refusal = ""
        self.frames = 0
        self.created = 0
        #: When the first of the events happened, and the last frame was read.
        self.began = 0.0
        self.last = 0.0
        self.waits: list[float] = []

    def saw(self, frames: int, created: int) -> None:
        """Count frames."""
        self.last = time.time()
        self.frames += frames
        self.created += created


class Watcher(asyncio.BufferedProtocol):
    """One event stream."""

    __slots__ = ("_kept", "_request", "_sight", "admitted")

    def __init__(self, sight: Sight, request: bytes) -> None:
        self._sight = sight
        self._request = request
        self._kept = b""
        #: Whether it is being told; done once that is known.
        self.admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast("asyncio.Transport", transport).write(self._request)

    def get_buffer(self, _: int) -> memoryview:
        """Lend the buffer that all share: it is read before another is lent it."""
        return self._sight.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        data = self._kept + self._sight.buffer[:nbytes]
        if not self.admitted.done() and len(data) >= len(_TAKEN):
            if not data.startswith(_TAKEN):
                self._sight.refusal = self._sight.refusal or data[:500].decode()
                self.admitted.set_result(False)
            elif _CONNECTED in data:
                self.admitted.set_result(True)
        if self.admitted.done():
            self._kept = self._take(data)
        else:
            self._kept = data

    def _take(self, data: bytes) -> bytes:
        """Count what is new in *data*; return what is to be read again."""
        frames = data.count(_FRAME, max(len(self._kept) - len(_FRAME) + 1, 0))
        self._sight.saw(frames, data.count(_CREATED))
        return data[-_KEPT:]

    def connection_lost(self, _: Exception | None) -> None:
        """Count those who were sent away, having been told something."""
        if not self.admitted.done():
            self.admitted.set_result(False)
        elif not self.admitted.cancelled() and self.admitted.result():
            self._sight.lost += 1


class Sampled(Watcher):
    """One that reads the times."""

    __slots__ = ()

    def _take(self, data: bytes) -> bytes:
        now = time.time()
        ends = data.rfind(b"\n\n") + 1
        self._sight.saw(data.count(_FRAME, 0, ends), data.count(_CREATED, 0, ends))
        for spelled in _TIMES.findall(data, 0, ends):
            at = datetime.fromisoformat(spelled.decode()).timestamp()
            self._sight.began = self._sight.began or at
            self._sight.waits.append(now - at)
        return data[ends:]


async def _watch(plan: Plan) -> Result:
    sight, loop = Sight(), asyncio.get_running_loop()
    callers = asyncio.Semaphore(_CALLERS)

    async def connect(number: int) -> None:
        queue = plan.queues[number % len(plan.queues)] if plan.queues else ""
        path = plan.path.format(queue=queue)
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
            f"Authorization: Bearer {plan.key}\r\n\r\n"
        ).encode()
        kind = Watcher if number % plan.sampled else Sampled
        async with callers:
            for _ in range(_TRIES_MAX):
                transport, watcher = await loop.create_connection(
                    partial(kind, sight, request), "127.0.0.1", plan.port
                )
                async with asyncio.timeout(plan.patience_seconds):
                    if await watcher.admitted:
                        return
                transport.close()
                await asyncio.sleep(_AGAIN_SECONDS)
        sys.exit(f"refused {_TRIES_MAX} times: {sight.refusal or 'hung up on'}")

    await asyncio.gather(*map(connect, range(plan.connections)))
    cpu = time.process_time()
    await asyncio.to_thread(Path(plan.ready).touch)
    await _come_true(lambda: sight.created >= plan.expected, sight, plan)
    return Result(
        frames=sight.frames,
        created=sight.created,
        seconds=max(sight.last - sight.began, 0.001),
        p50_ms=milliseconds(sight.waits or [0.0], 0.5),
        p99_ms=milliseconds(sight.waits or [0.0], 0.99),
        cpu_seconds=round(time.process_time() - cpu, 2),
        lost=sight.lost,
        refusal=sight.refusal,
    )


async def _come_true(what: Callable[[], bool], sight: Sight, plan: Plan) -> None:
    """Wait for it, or until nothing comes any more."""
    sight.last = time.time()
    while not what() and not sight.lost:
        if time.time() - sight.last > plan.patience_seconds:
            break
        await asyncio.sleep(_LOOK_SECONDS)


def _make_room(connections: int) -> None:
    """Let this process have so many connections."""
    needed = connections + _OTHER_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(
            f"{connections} connections need {needed} open files, and this system "
            f"allows a process {most} (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def main(plan: Path, result: Path) -> None:
    """Do what *plan* says, and write *result*."""
    asked = msgspec.json.decode(plan.read_bytes(), type=Plan)
    _make_room(asked.connections)
    result.write_bytes(msgspec.json.encode(uvloop.run(_watch(asked))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
