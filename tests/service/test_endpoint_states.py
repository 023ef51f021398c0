"""Endpoints through their states: waiting, gone, enabled again, deleted."""

from tests.support.endpoints import create_endpoint, send
from tests.support.waiting import until


async def delivery_of(api, sent):
    shown = await api.ask("GET", f"/messages/{sent['id']}", expect=200)
    [delivery] = shown["deliveries"]
    return delivery


async def until_shown(api, made, check):
    """Wait until an endpoint is shown so; return it."""

    async def look():
        shown = await api.ask("GET", f"/endpoints/{made['id']}", expect=200)
        return shown if check(shown) else None

    return await until(look, at_most=15)


async def test_what_is_for_a_disabled_endpoint_waits_until_it_is_enabled(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url, enabled=False)
    path = f"/endpoints/{made['id']}"

    sent = [await send(api, "a", {"n": n}) for n in range(3)]

    waiting = await until_shown(api, made, lambda one: one["stats"]["waiting"] == 3)
    assert waiting["enabled"] is False
    for one in sent:
        assert (await delivery_of(api, one))["status"] == "pending"
    assert endpoint.requests == []

    await api.ask("PATCH", path, json={"enabled": True}, expect=200)

    await endpoint.received(3, at_most=15)
    assert {got.id for got in endpoint.requests} == {one["id"] for one in sent}
    healthy = await until_shown(api, made, lambda one: one["stats"]["waiting"] == 0)
    assert healthy["disabled_reason"] is None


async def test_an_endpoint_that_is_gone_is_disabled_and_says_so(api, endpoint):
    endpoint.answers = [410]
    made = await create_endpoint(api, url=endpoint.url)

    first = await send(api, "a", {"n": 0})

    off = await until_shown(api, made, lambda one: not one["enabled"])
    assert off["disabled_reason"] == "gone"
    assert off["disabled_at"]
    assert (off["stats"]["failed_24h"], off["stats"]["succeeded_24h"]) == (1, 0)
    assert off["stats"]["success_ratio_24h"] == 0
    assert "410" in off["stats"]["last_error"]
    assert (await delivery_of(api, first))["status"] == "deadletter"
    second = await send(api, "a", {"n": 1})
    await until_shown(api, made, lambda one: one["stats"]["waiting"] == 1)

    enabled = {"enabled": True}
    await api.ask("PATCH", f"/endpoints/{made['id']}", json=enabled, expect=200)

    await endpoint.received(2, at_most=15)
    assert endpoint.requests[1].id == second["id"]
    shown = await until_shown(api, made, lambda one: one["stats"]["succeeded_24h"])
    assert shown["stats"]["success_ratio_24h"] == 0.5
    assert shown["stats"]["average_duration_ms_24h"] > 0
    assert shown["stats"]["last_success_at"]


async def test_what_waits_for_a_deleted_endpoint_is_cancelled(api, endpoint):
    made = await create_endpoint(api, url=endpoint.url, enabled=False)
    sent = await send(api, "a", {"n": 0})

    await api.ask("DELETE", f"/endpoints/{made['id']}", expect=204)

    async def cancelled():
        found = await delivery_of(api, sent)
        return found if found["status"] == "cancelled" else None

    delivery = await until(cancelled, at_most=15)
    assert delivery["completed_at"]
    assert endpoint.requests == []
