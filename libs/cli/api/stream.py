"""An event stream that goes on: after a break from where it stopped, until its end."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from libs.cli.api.client import Api, Refused, Unreachable

_PAUSE_SECONDS_MIN: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 15.0
_NOTHING_MORE: Final = 204


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as watchers are told it."""

    id: str | None
    type: str
    data: Mapping[str, Any]


async def follow(
    api: Api,
    path: str,
    *,
    params: Mapping[str, Any],
    say: Callable[[str], None],
    begun: Callable[[], None] = lambda: None,
    patient: bool = False,
) -> AsyncIterator[Frame]:
    """Give every frame of a stream; connect again, with jitter, when it breaks.

    *say* is told of breaks, *begun* is called whenever the stream is open.  The stream
    of a job ends with the job; others never do.  Raises `Refused`, and, unless
    *patient*, `Unreachable` when nobody answers the first time.
    """
    last_id: str | None = None
    failures = 0
    while True:
        try:
            async with api.open_stream(path, params=params, last_id=last_id) as answer:
                if answer.status == _NOTHING_MORE:
                    return
                begun()
                # Having been away, it begins where it stopped and nowhere else.
                params = {k: v for k, v in params.items() if k != "since"}
                async for frame in _frames(answer.content):
                    failures = 0
                    last_id = frame.id or last_id
                    if frame.type:
                        yield frame
        except (Refused, Unreachable) as error:
            if not (error.passes and (patient or last_id is not None)):
                raise
            say(f"{error}; trying again")
        pause = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS_MIN * 2**failures)
        failures = min(failures + 1, 10)
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - full jitter


async def _frames(content: aiohttp.StreamReader) -> AsyncIterator[Frame]:
    """Read Server-Sent Events; what only carries an id has no type."""
    rest = b""
    frame_id: str | None = None
    data: list[bytes] = []
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"id":
                frame_id = value.decode()
            elif not line.strip() and (data or frame_id):
                told = json.loads(b"\n".join(data)) if data else {}
                yield Frame(frame_id, told.get("type", ""), told.get("data", {}))
                data, frame_id = [], None
