"""What happens is noted for those who are to be told, whoever else is away."""

from libs.cli.embedded.ports import free_port
from tests.support.house import open_api, run_house
from tests.support.waiting import until


async def test_what_is_to_be_told_is_noted_while_nats_is_away(
    database_url, tenant, conn
):
    nowhere = f"nats://127.0.0.1:{free_port()}"
    async with (
        run_house(database_url, nowhere, services=("ingest", "scheduler")) as house,
        open_api(house, tenant) as api,
    ):
        wish = {"name": "ops", "url": "https://example.com/", "events": ["*"]}
        webhook = await api.ask("POST", "/outgoing-webhooks", json=wish, expect=201)
        await api.create()

        async def told():
            return await conn.fetchval(
                "SELECT count(*) FROM jobs WHERE endpoint_id = $1::text::uuid",
                webhook["id"],
            )

        assert await until(told, at_most=10) == 1
        assert await conn.fetchval("SELECT seq FROM announced") == 0
