"""Hand a job in over NATS, and know that it is committed.

    NATS_URL=nats://ORGANIZATION:PASSWORD@127.0.0.1:4222 BELLHOP_KEY=sk_live_… \
        python producer.py ORGANIZATION mail '{"to": "ada@example.com"}'

Asked again with the same key when no answer came, it is one job all the same.  Needs
``pip install nats-py``.
"""

import argparse
import asyncio
import json
import os
import sys
from uuid import uuid4

import nats
from nats.errors import NoRespondersError

TRIES = 10
#: What passes by itself: too fast, or what Bellhop stands on is away.
PASSING = {"429", "503"}


async def hand_in(client: nats.NATS, subject: str, job: dict, key: str) -> dict:
    """Return the answer once the job is committed; raises when it is refused."""
    for _ in range(TRIES):
        try:
            answer = await client.request(
                subject,
                json.dumps(job).encode(),
                timeout=5,
                headers={"Bellhop-Key": key},
            )
        except (NoRespondersError, TimeoutError):
            await asyncio.sleep(1)
            continue
        said = json.loads(answer.data)
        status = answer.headers["Bellhop-Status"]
        if status in {"200", "201"}:
            return said
        if status not in PASSING:
            raise SystemExit(f"refused: {status} {said['code']}: {said['message']}")
        await asyncio.sleep(said.get("retry_after_secs", 1))
    raise SystemExit("nobody took it in")


async def main() -> None:
    """Hand one job in, and print its id."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("organization", help="its id")
    parser.add_argument("queue")
    parser.add_argument("payload", type=json.loads, help="JSON")
    parser.add_argument("--idempotency-key", default=str(uuid4()))
    asked = parser.parse_args()
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    try:
        made = await hand_in(
            client,
            f"bellhop.ingest.{asked.organization}.{asked.queue}",
            {"payload": asked.payload, "idempotency_key": asked.idempotency_key},
            os.environ["BELLHOP_KEY"],
        )
    finally:
        await client.close()
    print(made["id"], "created" if made["created"] else "known", file=sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
