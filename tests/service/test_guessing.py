"""Whoever guesses is slowed down, over whichever door, and costs Postgres nothing."""

import grpc
import pytest

from libs.common.pb import spooled_pb2 as pb
from tests.support.grpc_client import open_grpc_api, trailers
from tests.support.house import ADMIN_KEY, open_api, run_house

NOBODY = "sk_live_" + "0" * 43
FEW = {"public_rate_per_second": 1, "public_rate_burst": 3}


@pytest.fixture
async def house(database_url, nats_url, grpc_port):
    """Ingest, which lets strangers be wrong three times in a row."""
    async with run_house(
        database_url, nats_url, services=("ingest",), grpc_port=grpc_port, **FEW
    ) as house:
        yield house


def wrong(key):
    return {"Authorization": f"Bearer {key}"}


async def guess_over_grpc(grpc_port):
    """Call with a key that nobody has; return status and trailers."""
    async with open_grpc_api(grpc_port, NOBODY) as stranger:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.call("GetJob", pb.GetJobRequest(job_id="x"))
    return caught.value.code().name, trailers(caught.value)


async def test_both_doors_count_the_same_client(house, api, grpc_port):
    found = [(await guess_over_grpc(grpc_port))[0] for _ in range(3)]
    over, told = await guess_over_grpc(grpc_port)
    status, error, _ = await api.ask("GET", "/jobs", headers=wrong(NOBODY))

    assert found == ["UNAUTHENTICATED"] * 3
    assert (over, int(told["retry-after"])) == ("RESOURCE_EXHAUSTED", 1)
    assert (status, error["code"]) == (429, "RATE_LIMIT_EXCEEDED")


async def test_who_is_known_is_not_kept_out_by_who_guesses(house, api, grpc_port):
    await api.ask("GET", "/jobs", expect=200)
    while (await api.ask("GET", "/jobs", headers=wrong(NOBODY)))[0] != 429:
        pass

    await api.ask("GET", "/jobs", expect=200)
    async with open_grpc_api(grpc_port, api.tenant.api_key) as known:
        assert await known.enqueue()


async def test_who_guessed_too_often_is_not_looked_up(house, api, conn):
    while (await api.ask("GET", "/jobs", headers=wrong(NOBODY)))[0] != 429:
        pass
    async with conn.transaction():
        # Whoever looks for a key waits here.
        await conn.execute("LOCK api_keys IN ACCESS EXCLUSIVE MODE")
        status, _, headers = await api.ask(
            "GET", "/jobs", headers=wrong(f"{NOBODY}1"), timeout=5
        )

    assert (status, headers["X-RateLimit-Scope"]) == (429, "ip")


async def test_proxies_are_believed_over_grpc_as_far_as_there_are_any(
    database_url, nats_url, grpc_port
):
    async def guess(client):
        async with open_grpc_api(grpc_port, NOBODY) as stranger:
            metadata = (*stranger.metadata, ("x-forwarded-for", f"8.8.8.8, {client}"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stranger.queue.GetJob(
                    pb.GetJobRequest(job_id="x"), metadata=metadata
                )
        return caught.value.code().name

    knobs = {**FEW, "trusted_proxy_hops": 1, "grpc_port": grpc_port}
    async with run_house(database_url, nats_url, services=("ingest",), **knobs):
        same = [await guess("192.0.2.1") for _ in range(4)]
        other = await guess("192.0.2.2")

    assert same == [*["UNAUTHENTICATED"] * 3, "RESOURCE_EXHAUSTED"]
    assert other == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", ["/organizations", "/auth/signup/complete"])
async def test_the_admin_key_is_guessed_at_no_faster_by_registering(
    database_url, nats_url, tenant, path
):
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        open_api(house, tenant) as api,
    ):
        headers = {"X-Admin-Key": f"{ADMIN_KEY}?"}
        found = [
            (await api.ask("POST", path, json={}, headers=headers))[0]
            for _ in range(70)
        ]
        status, _, _ = await api.ask("GET", "/admin/plans", headers=headers)

    assert set(found[:55]) == {403}
    assert found[-1] == 429
    assert status == 429


async def test_codes_are_not_mailed_to_all_the_world(database_url, nats_url, tenant):
    async with (
        run_house(database_url, nats_url, services=("ingest",)) as house,
        open_api(house, tenant) as api,
    ):
        found = [
            (
                await api.ask(
                    "POST", "/auth/email/start", json={"email": f"a{n}@b.example"}
                )
            )[0]
            for n in range(12)
        ]

    assert found == [*[200] * 10, 429, 429]
