"""Hear the events of an organization over NATS, each once, whoever stops meanwhile.

    NATS_URL=nats://ORGANIZATION:PASSWORD@127.0.0.1:4222 \
        python subscriber.py ORGANIZATION

A durable consumer remembers on the server what was acknowledged: started again, this
goes on where it stopped.  Needs ``pip install nats-py``.
"""

import argparse
import asyncio
import json
import os
import signal
from collections import OrderedDict

import nats
from nats.errors import Error
from nats.js.errors import Error as JetStreamError

STREAM = "BELLHOP_EVENTS"
#: As many ids as may come twice within a moment.
REMEMBERED = 10_000


class NotGivenError(Exception):
    """There is no consumer, for now."""


class Seen:
    """Ids that were handled: events are told at least once."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._ids

    def add(self, id_: str) -> None:
        self._ids[id_] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)


def handle(event: dict) -> None:
    """Do what is to be done; an error here means that it comes again."""
    about = event.get("job_id") or event["resource_id"]
    print(event["position"], event["type"], event.get("queue_name"), about, flush=True)


async def consumer_for(client: nats.NATS, asked: argparse.Namespace) -> str:
    """Ask for a consumer, and return its name; one that is there stays as it is."""
    name = asked.consumer or asked.organization
    answer = await client.request(
        f"bellhop.consumers.{asked.organization}.{name}",
        # A queue's dots are "%2E"; what happens to no job is under "@worker" and so on.
        json.dumps({"filter": asked.filter}).encode(),
        timeout=5,
    )
    said = json.loads(answer.data)
    if answer.headers["Bellhop-Status"] != "200":
        raise NotGivenError(said["message"])
    return said["consumer"]


async def follow(
    client: nats.NATS, asked: argparse.Namespace, stopping: asyncio.Event
) -> None:
    """Take events, handle and acknowledge them, until stopped or in trouble."""
    name = await consumer_for(client, asked)
    # What JetStream's API is called in the account of an organization.
    jetstream = client.jetstream(domain="bellhop")
    subscription = await jetstream.pull_subscribe_bind(name, stream=STREAM)
    seen = Seen()
    while not stopping.is_set():
        try:
            messages = await subscription.fetch(100, timeout=1)
        except TimeoutError:
            continue
        for message in messages:
            event = json.loads(message.data)
            if event["id"] not in seen:
                handle(event)
                seen.add(event["id"])
            await message.ack()


async def main() -> None:
    """Follow until SIGINT or SIGTERM; after trouble, anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("organization", help="its id")
    parser.add_argument("--filter", default=">", help="e.g. mail.> or @worker.>")
    parser.add_argument("--consumer", help="its name, absent the organization's id")
    asked = parser.parse_args()
    client = await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        max_reconnect_attempts=-1,
    )
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    while not stopping.is_set():
        try:
            await follow(client, asked, stopping)
        except (Error, JetStreamError, NotGivenError, OSError) as error:
            # The server restarts, or lost the consumer with its disk: once more.
            print(f"# {error!r}", flush=True)
            await asyncio.sleep(1)
    # What was taken is acknowledged by now, and the server waits for nobody here.
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
