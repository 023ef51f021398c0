"""What docs/incoming-webhooks.md says to send is taken, as it stands there."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from tests.support.house import run_house
from tests.support.senders import SECRET, configure

PAGE = Path(__file__).parents[2] / "docs/incoming-webhooks.md"
EXAMPLES = re.findall(r"(?ms)^```bash\n(.*?)^```$", PAGE.read_text())


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "openssl"))),
    reason="needs bash, curl and openssl",
)
async def test_every_example_makes_a_job(api):
    path = "/organizations/webhook-token/regenerate"
    made = await api.ask("POST", path, expect=200)
    for provider in ("github", "stripe", "shopify", "slack"):
        await configure(api, provider, secret=SECRET)
    first, *others = EXAMPLES

    for example in others:
        assert '"status":"created"' in await run(api, made["webhook_token"], example)
    rows = await api.ask("GET", "/webhooks/deliveries", expect=200)
    assert [row["matched_queue"] for row in reversed(rows)] == [
        "github-push",
        "stripe-invoice.paid",
        "shopify-orders-create",
        "slack-app_mention",
        "orders",
    ]
    assert '"webhook_url":' in await run(api, "", first)


async def run(api, token, example):
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        example,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "BELLHOP": api.base_url,
            "API_KEY": api.tenant.api_key,
            "ORG": str(api.tenant.id),
            "SECRET": SECRET,
            "TOKEN": token,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors
    return said.decode()
