"""The warden: whoever watches may still do so.

A stream stays open for long, so its credential is looked at again and again, whether
or not anybody said that it changed: one question to Postgres for all of them.
"""

import asyncio
from collections import defaultdict
from typing import Final

import structlog

from libs.common.access import KeyRing
from libs.common.errors import Transient, Unauthorized
from libs.common.loops import every
from services.streamer.feed import Feed
from services.streamer.watcher import Watcher

log = structlog.get_logger()

#: How many credentials are asked about in one question.
_BATCH: Final = 1_000


async def guard(
    stopping: asyncio.Event, *, feed: Feed, keys: KeyRing, seconds: float
) -> None:
    """Look every so often, and end the streams of who may not any more (an actor)."""

    async def turn() -> None:
        holders: defaultdict[str, list[Watcher]] = defaultdict(list)
        for watcher in feed.watchers():
            holders[watcher.credential].append(watcher)
        credentials = list(holders)
        for first in range(0, len(credentials), _BATCH):
            some = credentials[first : first + _BATCH]
            # While Postgres is away the last answer stands.
            await keys.renew(some)
            for credential in some:
                await _look(feed, keys, credential, holders[credential])

    await every(seconds, turn, stopping=stopping)


async def _look(
    feed: Feed, keys: KeyRing, credential: str, watchers: list[Watcher]
) -> None:
    try:
        principal = await keys.principal(credential)
    except Unauthorized as error:
        for watcher in watchers:
            watcher.end("revoked", str(error))
        return
    except Transient as error:
        log.debug("stream.recheck_postponed", cause=str(error))
        return
    for watcher in watchers:
        feed.renew(watcher, principal)
        for topic in watcher.wish.topics:
            queue = topic.queue_name
            if queue is not None and not principal.may(queue):
                watcher.end("revoked", f"No permission for queue '{queue}' any more")
