"""What is looked at in NATS."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from libs.cli.doctor.clocks import clock
from libs.cli.doctor.finding import Finding, fail, fine, warn
from libs.common.bus import Bus, open_bus
from libs.common.errors import Unavailable
from libs.common.messages import EVENTS, WORK, WORK_CONSUMER, Stream
from libs.common.standings import Standing, standing_of

_CONNECT_SECONDS: Final = 5.0
#: Who has something to read and reads nothing for so long stalls.
_STALL_SECONDS: Final = 2.0
_PAYLOAD_BYTES_MIN: Final = 8 * 1024 * 1024
_AWAY: Final = (
    "start it, or give the right NATS_URL; until then nothing is delivered, and jobs "
    "are taken in all the same"
)


async def look_at_nats(url: str) -> AsyncIterator[Finding]:
    """Give what there is to say of NATS, its streams and their consumers."""
    try:
        async with open_bus(url, service="doctor") as bus:
            if not await _connected(bus):
                yield fail("NATS", "does not answer", _AWAY)
                return
            yield _size(bus)
            before = {one: await standing_of(bus, one) for one in (WORK, EVENTS)}
            here = datetime.now(UTC)
            standing = before[EVENTS] or before[WORK]
            if standing is not None and standing.clock is not None:
                yield clock("clock of NATS", standing.clock, here)
            for stream, found in before.items():
                yield _stream(stream, found)
            if any(_behind(found) for found in before.values()):
                await asyncio.sleep(_STALL_SECONDS)
            after = {one: await standing_of(bus, one) for one in (WORK, EVENTS)}
            yield _carriers(after[WORK])
            for stream, found in after.items():
                for finding in _stalled(stream, before[stream], found):
                    yield finding
    except Unavailable as error:
        yield fail("NATS", str(error), "look at its log: JetStream must be enabled")


async def _connected(bus: Bus) -> bool:
    given_up = asyncio.Event()
    asyncio.get_running_loop().call_later(_CONNECT_SECONDS, given_up.set)
    return await bus.until_connected(given_up)


def _size(bus: Bus) -> Finding:
    size = bus.payload_bytes_max
    if size < _PAYLOAD_BYTES_MIN:
        return warn(
            "NATS",
            f"carries messages of {size} bytes at most",
            "set max_payload: 8MB; large bodies travel in more pieces until then",
        )
    return fine("NATS", "answers, with JetStream")


def _stream(stream: Stream, found: Standing | None) -> Finding:
    if found is None:
        return fail(
            stream.name,
            "there is none",
            "start a dispatcher and a scheduler: whoever needs it makes it",
        )
    return fine(stream.name, f"{found.messages} messages, {found.bytes} bytes")


def _carriers(work: Standing | None) -> Finding:
    consumers = () if work is None else work.consumers
    pods = [one for one in consumers if one.name == WORK_CONSUMER]
    if not pods or (pods[0].waiting == 0 and pods[0].pending > 0):
        return fail(
            "delivery",
            "no pod asks for work",
            "start delivery; webhooks wait in the database until then",
        )
    return fine("delivery", "pods ask for work")


def _behind(found: Standing | None) -> bool:
    return found is not None and any(one.behind for one in found.consumers)


def _stalled(
    stream: Stream, before: Standing | None, after: Standing | None
) -> list[Finding]:
    """Judge who had something to read, and did not move meanwhile."""
    if before is None or after is None:
        return []
    earlier = {one.name: one for one in before.consumers}
    stalled = [
        one
        for one in after.consumers
        if one.behind
        and (was := earlier.get(one.name)) is not None
        and was.behind
        and (was.delivered, was.settled) == (one.delivered, one.settled)
    ]
    if not stalled:
        count = len(after.consumers)
        return [fine(f"consumers of {stream.name}", f"{count}, none stalls")]
    return [
        warn(
            f"consumer {one.name} of {stream.name}",
            f"stalls: {one.pending} wait, {one.unacknowledged} are not acknowledged",
            "start its program again, or delete it if nobody reads any more",
        )
        for one in stalled
    ]
