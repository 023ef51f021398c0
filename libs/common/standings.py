"""How streams and their consumers stand, as JetStream says; for who asks after them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.messages import Stream

_ASK_SECONDS: Final = 3.0
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer: what waits for it, how far it is, and whether it asks."""

    name: str
    #: Whether it stays when nobody reads: others are one reader's, and go with it.
    durable: bool
    #: Messages that nobody was handed yet, and those that were not acknowledged.
    pending: int
    unacknowledged: int
    #: The last message that it handed out, and the last before all are acknowledged.
    delivered: int
    settled: int
    #: How many pulls wait at it for a message.
    waiting: int

    @property
    def behind(self) -> bool:
        """Whether there is something that it has not been through."""
        return self.pending > 0 or self.unacknowledged > 0


@dataclass(frozen=True, slots=True)
class Standing:
    """One stream: what it holds, its consumers, and the clock of its server."""

    messages: int
    bytes: int
    consumers: tuple[Consumer, ...]
    clock: datetime | None


async def standing_of(bus: Bus, stream: Stream) -> Standing | None:
    """Return how *stream* stands, None when there is none; raises `Unavailable`."""
    info = await _ask(bus, f"STREAM.INFO.{stream.name}")
    if info is None:
        return None
    listed = await _ask(bus, f"CONSUMER.LIST.{stream.name}") or {}
    clock = info.get("ts")
    return Standing(
        messages=info["state"]["messages"],
        bytes=info["state"]["bytes"],
        consumers=tuple(_consumer(one) for one in listed.get("consumers") or []),
        clock=None if clock is None else datetime.fromisoformat(clock),
    )


def _consumer(told: dict[str, Any]) -> Consumer:
    return Consumer(
        name=told["name"],
        durable="durable_name" in told["config"],
        pending=told.get("num_pending", 0),
        unacknowledged=told.get("num_ack_pending", 0),
        delivered=told["delivered"]["stream_seq"],
        settled=told["ack_floor"]["stream_seq"],
        waiting=told.get("num_waiting", 0),
    )


async def _ask(bus: Bus, request: str) -> dict[str, Any] | None:
    answer = await bus.ask(f"$JS.API.{request}", b"", seconds=_ASK_SECONDS)
    told: dict[str, Any] = json.loads(answer)
    if (error := told.get("error")) is None:
        return told
    if error["code"] == _NOT_FOUND:
        return None
    raise Unavailable(f"nats: {request}: {error['description']}")
