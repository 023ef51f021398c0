"""Standard Webhooks 1.0, SW-09: a rotation under traffic costs nobody a message."""

import asyncio

import pytest
import standardwebhooks

from tests.support.endpoints import create_endpoint
from tests.support.house import new_tenant, open_api, run_house

MESSAGES = 60


def signed_by(request, secret) -> bool:
    try:
        request.verify(secret)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


@pytest.mark.parametrize("overlap_seconds", [60, 0])
async def test_sw_09_a_rotation_under_traffic(
    database_url, nats_url, endpoint, overlap_seconds, capsys
):
    tenant = await new_tenant(database_url)
    async with (
        run_house(database_url, nats_url) as house,
        open_api(house, tenant) as api,
    ):
        made = await create_endpoint(api, url=endpoint.url, max_concurrency=4)

        async def send(n):
            body = {"event_type": "a.b", "payload": {"n": n}}
            await api.ask("POST", "/messages", json=body, expect=201)

        for n in range(MESSAGES):
            await send(n)
            if n == MESSAGES // 3:
                rotated = await api.ask(
                    "POST",
                    f"/endpoints/{made['id']}/secret/rotate",
                    json={"overlap_seconds": overlap_seconds},
                    expect=200,
                )
            await asyncio.sleep(0.01)
        await endpoint.received(MESSAGES)

    by_old = [signed_by(one, made["secret"]) for one in endpoint.requests]
    by_new = [signed_by(one, rotated["secret"]) for one in endpoint.requests]
    both = sum(map(all, zip(by_old, by_new, strict=True)))
    with capsys.disabled():
        print(
            f"\n{MESSAGES} webhooks, rotated after {MESSAGES // 3} with"
            f" {overlap_seconds} s of overlap: {sum(by_old)} signed by the old secret,"
            f" {sum(by_new)} by the new one, {both} by both"
        )
    assert all(map(any, zip(by_old, by_new, strict=True)))
    if overlap_seconds:
        # Who has not heard yet loses nothing.
        assert all(by_old)
        assert both > 0
    else:
        assert both == 0
        assert not by_old[-1]
