"""An organization's programs see their own events over NATS, and reach nothing else.

Against a real server with the configuration that is handed out in ``deploy/nats``.
"""

import asyncio
import json
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from libs.cli.embedded.nats import run_nats
from libs.cli.nats_users import DOMAIN, EXPORTS, organization_account, remember
from libs.common.messages import EVENTS
from libs.common.subjects import consumer_subject, ingest_subject
from tests.support.deployed_nats import DEPLOYED, deployed_server, user
from tests.support.house import new_tenant, open_api, run_house
from tests.support.waiting import until

STREAM = EVENTS.name


class Program:
    """A program of an organization's, with nothing but its user."""

    def __init__(self, tenant, client):
        self.id = str(tenant.id)
        self.client = client
        self.jetstream = client.jetstream(domain=DOMAIN, timeout=1)

    async def ask_for_consumer(self, name=None, *, whose=None, **asked):
        """Ask for a consumer; return status and answer."""
        answer = await self.client.request(
            consumer_subject(whose or self.id, name or self.id),
            json.dumps(asked).encode(),
            timeout=5,
        )
        return int(answer.headers["Bellhop-Status"]), json.loads(answer.data)

    async def subscription(self, name=None, **asked):
        status, given = await self.ask_for_consumer(name, **asked)
        assert status == 200, given
        return await self.jetstream.pull_subscribe_bind(
            given["consumer"], stream=given["stream"]
        )

    async def is_unheard(self, subject, data=b"{}"):
        """Say whether nobody answers there, or the account's own empty JetStream."""
        try:
            answer = await self.client.request(subject, data, timeout=1)
        except (NoRespondersError, TimeoutError):
            return True
        return json.loads(answer.data)["error"]["description"] == (
            "JetStream not enabled for account"
        )


@asynccontextmanager
async def program(server, tenant, password):
    client = await nats.connect(f"nats://{tenant.id}:{password}@{server}")
    made = Program(tenant, client)
    try:
        yield made
    finally:
        await client.close()


@pytest.fixture
async def acme(database_url):
    return await new_tenant(database_url, slug="acme")


@pytest.fixture
async def other(database_url):
    return await new_tenant(database_url, slug="other")


@pytest.fixture
async def server(tmp_path, acme, other):
    accounts = [
        (str(acme.id), organization_account(str(acme.id), "acmes", ["second"])),
        (str(other.id), organization_account(str(other.id), "others")),
    ]
    async with deployed_server(tmp_path, accounts) as server:
        yield server.address


@pytest.fixture
async def house(database_url, server):
    url = user("bellhop", server)
    async with run_house(database_url, url, services=("ingest", "scheduler")) as house:
        yield house


@pytest.fixture
async def happened(house, acme, other):
    """Each organization has two jobs, and all that is announced."""
    for tenant in (acme, other):
        async with open_api(house, tenant) as api:
            await api.create(queue_name="mail")
            await api.create(queue_name="letters")
    client = await nats.connect(house.nats_url)

    async def announced():
        try:
            info = await client.jetstream().stream_info(STREAM)
        except NotFoundError:
            return False
        return info.state.messages == 4

    await until(announced, at_most=10)
    await client.close()


@pytest.fixture
async def mine(server, acme, happened):
    async with program(server, acme, "acmes") as made:
        yield made


async def told(subscription, count):
    messages = await subscription.fetch(count, timeout=2)
    for message in messages:
        await message.ack_sync(timeout=1)
    return [json.loads(message.data) for message in messages]


async def test_a_program_reads_its_own_events_and_goes_on_after_a_restart(
    mine, server, acme, house
):
    first = await told(await mine.subscription(), 10)

    assert {event["organization_id"] for event in first} == {mine.id}
    assert [event["queue_name"] for event in first] == ["mail", "letters"]
    await mine.client.close()
    async with open_api(house, acme) as api:
        late = await api.create(queue_name="late")
    async with program(server, acme, "acmes") as again:
        [event] = await told(await again.subscription(), 1)
        assert event["job_id"] == late
        assert (await again.jetstream.consumer_info(STREAM, mine.id)).num_pending == 0


async def test_a_program_may_have_the_consumers_it_was_given(mine):
    second = f"{mine.id}-second"
    subscription = await mine.subscription(second, filter="letters.>")
    [event] = await told(subscription, 10)
    assert event["queue_name"] == "letters"
    # Asked for again it is where it was.
    with pytest.raises(TimeoutError):
        await (await mine.subscription(second, filter="letters.>")).fetch(1, timeout=1)
    with pytest.raises(NoRespondersError):
        await mine.ask_for_consumer(f"{mine.id}-third")


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": ""},
        {"filter": "mail..>"},
        {"filter": ">.mail"},
        {"filter": "mail >"},
        {"filter": "mail.>\r\n"},
        {"filter": None},
        {"deliver_subject": "bellhop.work.delivery"},
        {"config": {"filter_subject": "bellhop.events.>"}},
    ],
    ids=str,
)
async def test_a_consumer_is_of_its_organization_and_nothing_else(mine, asked):
    status, refused = await mine.ask_for_consumer(**asked)

    assert (status in {400, 422}, refused["code"]) == (True, "VALIDATION_ERROR")


@pytest.mark.parametrize("name", ["OTHER", "MINE.x", "MINE-", "MINE-a.b", "bellhop"])
async def test_a_consumer_bears_the_name_of_its_organization(house, acme, other, name):
    """Also for who may ask for any: the services' user."""
    client = await nats.connect(house.nats_url)
    services = Program(acme, client)
    name = name.replace("OTHER", str(other.id)).replace("MINE", services.id)

    async def answered():
        try:
            return await services.ask_for_consumer(name)
        except NoRespondersError:
            return None

    status, refused = await until(answered, at_most=10)
    await client.close()

    assert (status, refused["code"]) == (403, "ACCESS_DENIED")


async def test_a_program_hears_its_own_events_as_they_come(mine, house, acme, other):
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await mine.client.subscribe(f"bellhop.events.{mine.id}.>", cb=heard.put)
    await mine.client.flush()

    for tenant in (other, acme):
        async with open_api(house, tenant) as api:
            job = await api.create()

    message = await asyncio.wait_for(heard.get(), 10)
    assert json.loads(message.data)["job_id"] == job
    assert heard.empty()


async def test_a_program_makes_no_consumer_by_itself(mine):
    own = f"bellhop.events.{mine.id}.>"
    pushed = ConsumerConfig(
        name=mine.id,
        durable_name=mine.id,
        filter_subject=own,
        deliver_subject="bellhop.work.delivery",
    )
    body = json.dumps({"stream_name": STREAM, "config": pushed.as_dict()}).encode()

    for api in (f"$JS.{DOMAIN}.API", "$JS.API"):
        for subject in (
            f"{api}.CONSUMER.CREATE.{STREAM}",
            f"{api}.CONSUMER.CREATE.{STREAM}.{mine.id}",
            f"{api}.CONSUMER.CREATE.{STREAM}.{mine.id}.{own}",
            f"{api}.CONSUMER.DURABLE.CREATE.{STREAM}.{mine.id}",
        ):
            assert await mine.is_unheard(subject, body), subject


async def test_the_stream_as_a_whole_is_out_of_reach(mine, other, server):
    async with program(server, other, "others") as neighbour:
        await neighbour.subscription()
    for api in (f"$JS.{DOMAIN}.API", "$JS.API"):
        for request in (
            f"STREAM.INFO.{STREAM}",
            f"STREAM.MSG.GET.{STREAM}",
            f"DIRECT.GET.{STREAM}",
            f"STREAM.DELETE.{STREAM}",
            f"STREAM.PURGE.{STREAM}",
            f"STREAM.UPDATE.{STREAM}",
            "STREAM.CREATE.MINE",
            "STREAM.NAMES",
            "INFO",
            f"CONSUMER.NAMES.{STREAM}",
            f"CONSUMER.MSG.NEXT.{STREAM}.{other.id}",
            f"CONSUMER.INFO.{STREAM}.{other.id}",
            f"CONSUMER.DELETE.{STREAM}.{other.id}",
            f"CONSUMER.DELETE.{STREAM}.{mine.id}",
        ):
            assert await mine.is_unheard(f"{api}.{request}"), request
    assert await mine.is_unheard("$SYS.REQ.SERVER.PING")


async def test_nothing_a_program_says_or_is_answered_arrives_elsewhere(
    mine, other, house, server
):
    """Nor does a reply: a request may name any subject for it."""
    inner, api = await nats.connect(house.nats_url), f"$JS.{DOMAIN}.API.CONSUMER"
    heard: list[str] = []
    forbidden = [
        "bellhop.wake.push",
        "bellhop.hint.organization.changed",
        "bellhop.work.delivery",
        "bellhop.results.any",
        "bellhop.attempt",
        "bellhop.bodies",
        f"bellhop.events.{mine.id}.mail.j.completed",
        f"bellhop.events.{other.id}.mail.j.completed",
        ingest_subject(str(other.id), "mail"),
        f"$JS.API.STREAM.PURGE.{STREAM}",
        "_INBOX.x",
    ]

    async def hear(message):
        heard.append(message.subject)

    await mine.subscription()
    async with program(server, other, "others") as neighbour:
        for subject in forbidden:
            await inner.subscribe(subject, cb=hear)
            await neighbour.client.subscribe(subject, cb=hear)
        await inner.flush()
        await neighbour.client.flush()
        for subject in forbidden:
            await mine.client.publish(subject, b"{}")
            for request, asked in (
                (ingest_subject(mine.id, "mail"), b"{}"),
                (consumer_subject(mine.id, mine.id), b"{}"),
                (f"{api}.MSG.NEXT.{STREAM}.{mine.id}", b'{"no_wait": true}'),
                (f"{api}.INFO.{STREAM}.{mine.id}", b""),
            ):
                answered = asyncio.Event()

                async def note(_, answered=answered):
                    answered.set()

                # Where the reply goes: to the program itself.
                subscription = await mine.client.subscribe(subject, cb=note)
                await mine.client.publish(request, asked, reply=subject)
                await asyncio.wait_for(answered.wait(), 5)
                await subscription.unsubscribe()
        # What was said before it is heard before it.
        await inner.publish("_INBOX.x", b"last")
        await until(lambda: "_INBOX.x" in heard, at_most=5)
        await neighbour.client.flush()

    assert heard == ["_INBOX.x"]
    info = await inner.jetstream().stream_info(STREAM)
    assert info.state.messages == 4
    await inner.close()


async def test_nothing_of_others_can_be_heard(mine, other, house):
    heard: list[str] = []

    async def hear(message):
        heard.append(message.subject)

    for subject in (">", "bellhop.>", f"bellhop.events.{other.id}.>", "_INBOX.>"):
        await mine.client.subscribe(subject, cb=hear)
    await mine.client.flush()
    inner = await nats.connect(house.nats_url)
    for subject in (
        f"bellhop.events.{other.id}.mail.j.completed",
        "bellhop.wake.push",
        ingest_subject(str(other.id), "mail"),
        "_INBOX.x",
        f"bellhop.events.{mine.id}.mail.j.completed",
    ):
        await inner.publish(subject, b"{}")
    await inner.flush()
    await until(lambda: heard, at_most=5)
    await inner.close()

    assert set(heard) == {f"bellhop.events.{mine.id}.mail.j.completed"}


async def test_a_program_hands_jobs_in(mine, acme, house):
    answer = await mine.client.request(
        ingest_subject(mine.id, "mail"),
        b'{"payload": {"n": 1}}',
        headers={"Bellhop-Key": acme.api_key},
        timeout=10,
    )

    made = json.loads(answer.data)
    assert answer.headers["Bellhop-Status"] == "201"
    async with open_api(house, acme) as api:
        assert (await api.job(made["id"]))["payload"] == {"n": 1}


async def test_the_embedded_server_has_the_accounts_that_were_made(tmp_path, acme):
    directory = tmp_path / "nats"
    directory.mkdir()
    remember(directory, str(acme.id), organization_account(str(acme.id), "forgotten"))
    remember(directory, str(acme.id), organization_account(str(acme.id), "acmes"))
    async with run_nats(directory) as server:
        inner = await nats.connect(server.url)
        async with program(f"127.0.0.1:{server.port}", acme, "acmes") as mine:
            events = f"bellhop.events.{mine.id}.>"
            heard = await mine.client.subscribe(events)
            await mine.client.flush()
            await inner.publish(events.replace(">", "mail.j.completed"), b"{}")

            assert (await heard.next_msg(timeout=5)).data == b"{}"
            assert await mine.is_unheard("$JS.API.INFO")
        await inner.close()


def test_what_is_handed_out_lets_the_same_be_imported():
    services = (DEPLOYED / "users.conf").read_text()

    exports = [json.loads(line) for line in services.splitlines() if '": "' in line]

    assert exports == EXPORTS
