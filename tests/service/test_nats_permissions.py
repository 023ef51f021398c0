"""An organization's programs see their own events over NATS, and reach nothing else.

Against a real server with the configuration that is handed out in ``deploy/nats``.
"""

import asyncio
import json
import os
import sysconfig
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.ports import free_port
from libs.cli.nats_users import inbox_prefix, organization_user, remember
from libs.common.messages import EVENTS
from libs.common.subjects import ingest_subject
from tests.support.house import new_tenant, open_api, run_house
from tests.support.waiting import until

DEPLOYED = Path(__file__).parents[2] / "deploy/nats"
STREAM = EVENTS.name


@asynccontextmanager
async def deployed_server(directory, users):
    """Run nats-server with what is handed out, here and on a free port."""
    port = free_port()
    main = (DEPLOYED / "bellhop.conf").read_text()
    for given, here in (
        ("0.0.0.0:4222", f"127.0.0.1:{port}"),
        ("0.0.0.0:8222", f"127.0.0.1:{free_port()}"),
        ("/data", str(directory / "data")),
    ):
        assert main.count(given) == 1
        main = main.replace(given, here)
    (directory / "bellhop.conf").write_text(main)
    services = (DEPLOYED / "users.conf").read_text()
    blocks = "\n".join(json.dumps(user) for user in users)
    assert services.count("\n]") == 1
    (directory / "users.conf").write_text(services.replace("\n]", f"\n{blocks}\n]"))
    process = await asyncio.create_subprocess_exec(
        Path(sysconfig.get_path("scripts")) / "nats-server",
        "--config",
        directory / "bellhop.conf",
        env={**os.environ, "NATS_PASSWORD": '"12ab"'},
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"127.0.0.1:{port}"

    async def answers():
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await until(answers, at_most=10)
        yield url
    finally:
        process.terminate()
        await process.wait()


class Program:
    """A program of an organization's, with nothing but its user."""

    def __init__(self, tenant, client):
        self.id = str(tenant.id)
        self.tenant = tenant
        self.client = client
        self.jetstream = client.jetstream(timeout=1)
        self.errors: list[str] = []

    async def make_consumer(self, name, filter_subject, **more):
        config = ConsumerConfig(
            durable_name=name, name=name, filter_subject=filter_subject, **more
        )
        return await self.jetstream.add_consumer(STREAM, config)

    async def subscription(self, durable=None):
        return await self.jetstream.pull_subscribe(
            f"bellhop.events.{self.id}.>", durable=durable or self.id, stream=STREAM
        )

    async def request(self, subject, body=None):
        """Ask the server itself; return what it says, or raise when it may not."""
        data = b"" if body is None else json.dumps(body).encode()
        return json.loads((await self.client.request(subject, data, timeout=1)).data)


@asynccontextmanager
async def program(server, tenant, password):
    errors: list[str] = []

    async def noted(error):
        errors.append(str(error).lower())

    client = await nats.connect(
        f"nats://{tenant.id}:{password}@{server}",
        inbox_prefix=inbox_prefix(str(tenant.id)),
        error_cb=noted,
    )
    made = Program(tenant, client)
    made.errors = errors
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
    users = [
        organization_user(str(acme.id), "acmes", ["second"]),
        organization_user(str(other.id), "others"),
    ]
    async with deployed_server(tmp_path, users) as url:
        yield url


@pytest.fixture
async def house(database_url, server):
    url = f"nats://bellhop:12ab@{server}"
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
    narrow = f"bellhop.events.{mine.id}.letters.>"
    await mine.make_consumer(f"{mine.id}-second", narrow, ack_policy=AckPolicy.EXPLICIT)
    subscription = await mine.jetstream.pull_subscribe_bind(
        f"{mine.id}-second", stream=STREAM
    )
    [event] = await told(subscription, 10)
    assert event["queue_name"] == "letters"
    assert await mine.jetstream.delete_consumer(STREAM, f"{mine.id}-second")
    with pytest.raises(TimeoutError):
        await mine.make_consumer(f"{mine.id}-third", narrow)
    assert "permissions violation" in mine.errors[-1]


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


@pytest.mark.parametrize(
    "filter_subject",
    [None, ">", "bellhop.events.>", "bellhop.events.*.>", "bellhop.events.OTHER.>"],
)
async def test_no_consumer_sees_more_than_its_organization(mine, other, filter_subject):
    asked = filter_subject and filter_subject.replace("OTHER", str(other.id))

    with pytest.raises(TimeoutError):
        await mine.make_consumer(mine.id, asked)

    assert "permissions violation for publish" in mine.errors[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"filter_subject": "bellhop.events.>"},
        {"filter_subject": None},
        {"filter_subject": None, "filter_subjects": ["bellhop.events.>"]},
        {"name": "OTHER", "durable_name": "OTHER"},
    ],
    ids=str,
)
async def test_a_request_that_says_another_than_its_subject_is_refused(
    mine, other, changes
):
    """The subject is what permissions see; the server holds the body to it."""
    own = f"bellhop.events.{mine.id}.>"
    config = {
        "name": mine.id,
        "durable_name": mine.id,
        "filter_subject": own,
        "ack_policy": "explicit",
        **{
            name: str(other.id) if value == "OTHER" else value
            for name, value in changes.items()
        },
    }

    answer = await mine.request(
        f"$JS.API.CONSUMER.CREATE.{STREAM}.{mine.id}.{own}",
        {"stream_name": STREAM, "config": config},
    )

    assert answer["error"]["code"] == 400


async def test_the_stream_as_a_whole_is_out_of_reach(mine, other, server):
    async with program(server, other, "others") as neighbour:
        await neighbour.subscription()
    for subject in (
        f"$JS.API.STREAM.INFO.{STREAM}",
        f"$JS.API.STREAM.MSG.GET.{STREAM}",
        f"$JS.API.DIRECT.GET.{STREAM}",
        f"$JS.API.STREAM.DELETE.{STREAM}",
        f"$JS.API.STREAM.PURGE.{STREAM}",
        f"$JS.API.STREAM.UPDATE.{STREAM}",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.NAMES",
        "$JS.API.INFO",
        f"$JS.API.CONSUMER.NAMES.{STREAM}",
        f"$JS.API.CONSUMER.CREATE.{STREAM}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{mine.id}",
        f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{other.id}",
        f"$JS.API.CONSUMER.INFO.{STREAM}.{other.id}",
        f"$JS.API.CONSUMER.DELETE.{STREAM}.{other.id}",
        "$SYS.REQ.SERVER.PING",
    ):
        with pytest.raises(TimeoutError):
            await mine.request(subject, {"seq": 1})
        assert "permissions violation for publish" in mine.errors[-1], subject


async def test_nothing_internal_can_be_said_or_heard(mine, other):
    for subject in (
        "bellhop.wake.push",
        "bellhop.hint.organization.changed",
        "bellhop.work.delivery",
        "bellhop.results.any",
        "bellhop.attempt",
        "bellhop.bodies",
        f"bellhop.events.{mine.id}.mail.j.completed",
        ingest_subject(str(other.id), "mail"),
        f"_INBOX_{other.id}.x",
        "_INBOX.x",
    ):
        mine.errors.clear()
        await mine.client.publish(subject, b"{}")
        await mine.client.flush()
        await until(lambda: mine.errors, at_most=5)
        assert "permissions violation for publish" in mine.errors[-1], subject
    for subject in (
        ">",
        "bellhop.>",
        "bellhop.events.>",
        f"bellhop.events.{other.id}.>",
        "bellhop.ingest.>",
        f"_INBOX_{other.id}.>",
        "_INBOX.>",
        "$JS.>",
    ):
        mine.errors.clear()
        await mine.client.subscribe(subject)
        await mine.client.flush()
        await until(lambda: mine.errors, at_most=5)
        assert "permissions violation for subscription" in mine.errors[-1], subject


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


async def test_the_embedded_server_has_the_users_that_were_made(tmp_path, acme):
    directory = tmp_path / "nats"
    directory.mkdir()
    remember(directory, organization_user(str(acme.id), "forgotten"))
    remember(directory, organization_user(str(acme.id), "acmes"))
    async with (
        run_nats(directory) as server,
        program(f"127.0.0.1:{server.port}", acme, "acmes") as mine,
    ):
        await mine.client.publish("bellhop.wake.push", b"{}")
        await mine.client.flush()
        await until(lambda: mine.errors, at_most=5)
        client = await nats.connect(server.url)
        assert client.is_connected
        await client.close()
