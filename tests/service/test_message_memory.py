"""What a message costs: the same, however many endpoints it goes to."""

from pathlib import Path

import pytest

from tests.support.endpoints import create_endpoint, send
from tests.support.house import run_house


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


def peak():
    """Return how much memory this process, the house, ever had (MB)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no VmHWM")


async def test_a_large_message_in_envelopes_is_there_once(api, conn):
    """However many endpoints it goes to: a copy for each would be 270 MB."""
    for _ in range(300):
        await create_endpoint(api, format="envelope")
    before = peak()

    sent = await send(api, "invoice.paid", {"words": "y" * 900_000})

    grown = peak() - before
    print(f"300 x 0.9 MB: peak {before} MB before, {grown} MB more after")
    assert sent["deliveries"] == 300
    assert grown < 100
    kept = (
        "SELECT count(*), count(payload), count(*) FILTER (WHERE enveloped) FROM jobs"
    )
    assert tuple(await conn.fetchrow(kept)) == (300, 0, 300)
