"""One run: the house is built, loaded and broken, then mended, emptied and judged."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg

from libs.common.db import PASSING
from tests.chaos.asking import Client
from tests.chaos.faults import rage
from tests.chaos.flows import create_flows
from tests.chaos.hands import GrpcHands, Hands, RestHands
from tests.chaos.history import History
from tests.chaos.house import SLOTS, House, run_house
from tests.chaos.labour import NAPS, STEPS, WORK, Labourer, hand_in_work
from tests.chaos.limits import impose
from tests.chaos.plan import Planned, draw
from tests.chaos.producers import Producer
from tests.chaos.receivers import Receivers, run_receivers
from tests.chaos.report import progress
from tests.chaos.rules import Story
from tests.chaos.tables import broken_invariants, open_jobs, read_tables
from tests.chaos.timers import create_timers, stop_timers
from tests.chaos.watching import Watching
from tests.support.grpc_client import open_grpc_api
from tests.support.house import Tenant, new_tenant
from tests.support.waiting import until

TENANTS: Final = 3
#: Jobs a second of each organization: webhooks, for workers, workflows.
_HOOKS_RATE, _WORK_RATE, _FLOWS_RATE = 6.0, 5.0, 0.5
_TIMERS: Final = 4
#: How long what is open may take to end once all is mended, and to be told.
_END_SECONDS: Final = 150.0
_TOLD_SECONDS: Final = 60.0
_PROGRESS_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Asked:
    """What to run."""

    seconds: float
    seed: int
    replicas: int
    faults: Sequence[str]
    build: str = "sound"

    def luck(self, purpose: str) -> random.Random:
        """Return a source of chance of its own for a purpose."""
        return random.Random(f"{self.seed} {purpose}")

    @property
    def plan(self) -> list[Planned]:
        """The faults, drawn from the seed."""
        return draw(
            self.luck("plan"),
            seconds=self.seconds,
            faults=self.faults,
            replicas=self.replicas,
        )


@dataclass
class Load:
    """Who hands in, who works, who watches; and how they are told to go home."""

    asked: Asked
    house: House
    receivers: Receivers
    clients: list[Client]
    hands: list[list[Hands]]
    #: No more is handed in.
    calm: asyncio.Event = field(default_factory=asyncio.Event)
    #: No more is worked on.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self) -> list[Producer]:
        """Create endpoints and schedules, before anything is broken."""
        producers = []
        for number, client in enumerate(self.clients):
            luck = self.asked.luck(f"producer {number}")
            producer = Producer(client, self.receivers, luck)
            await producer.prepare()
            url = self.receivers.url("/steady")
            await create_timers(client, luck, url, how_many=_TIMERS)
            producers.append(producer)
        return producers

    def begin(self, producers: list[Producer], handing: asyncio.TaskGroup) -> None:
        """Let everybody hand in."""
        url = self.receivers.url("/steady")
        for number, (client, producer) in enumerate(
            zip(self.clients, producers, strict=True)
        ):
            luck = self.asked.luck(f"work {number}")
            handing.create_task(producer.produce(self.calm, rate=_HOOKS_RATE))
            handing.create_task(hand_in_work(client, luck, self.calm, rate=_WORK_RATE))
            handing.create_task(
                create_flows(client, luck, url, self.calm, rate=_FLOWS_RATE)
            )

    def work(self, working: asyncio.TaskGroup) -> None:
        """Let workers work, some over REST and some over gRPC."""
        for number, all_hands in enumerate(self.hands):
            places = [(queue, one) for queue in (WORK, STEPS) for one in all_hands]
            places += [(NAPS, all_hands[0]), (NAPS, all_hands[-1])]
            for place, (queue, hands) in enumerate(places):
                name = f"{type(hands).__name__} {number}.{place}"
                labourer = Labourer(
                    name=name,
                    queue=queue,
                    hands=hands,
                    history=self.house.history,
                    luck=self.asked.luck(name),
                    over=self.over,
                )
                working.create_task(labourer.work())


@asynccontextmanager
async def _load(
    asked: Asked, house: House, receivers: Receivers, tenants: list[Tenant]
) -> AsyncIterator[Load]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        urls = house.urls("ingest")
        clients = [
            Client(tenant, urls, http, house.history, asked.luck(f"client {number}"))
            for number, tenant in enumerate(tenants)
        ]
        hands: list[list[Hands]] = []
        for client in clients:
            over_grpc = [
                await stack.enter_async_context(
                    open_grpc_api(port, client.tenant.api_key)
                )
                for port in house.grpc_ports()
            ]
            hands.append(
                [
                    RestHands(client),
                    *(GrpcHands(api, house.history) for api in over_grpc),
                ]
            )
        yield Load(asked, house, receivers, clients, hands)


async def run(asked: Asked, directory: Path) -> Story:
    """Run it all in *directory*; return what was seen."""
    history = History(directory / "history.jsonl")
    async with (
        run_receivers(history, asked.luck("receivers")) as receivers,
        run_house(
            directory, history, replicas=asked.replicas, build=asked.build
        ) as house,
    ):
        tenants = [
            await new_tenant(house.database_url, slug=f"tenant-{number}")
            for number in range(TENANTS)
        ]
        await impose(house.database_url, tenants[-1].id)
        watching = Watching(tenants, house.urls("streamer"), house.nats.url, asked.seed)
        story = Story(history, await read_tables(house.database_url), slots=SLOTS)
        async with _load(asked, house, receivers, tenants) as load:
            beside = [
                asyncio.create_task(one)
                for one in (
                    house.keep(),
                    _look(house),
                    _tell(history, asked),
                    watching.reader.follow(),
                    *(watcher.follow() for watcher in watching.watchers),
                )
            ]
            try:
                await watching.have_begun()
                producers = await load.prepare()
                async with asyncio.TaskGroup() as working:
                    load.work(working)
                    await _rage(asked, load, producers)
                    story.ticks = await stop_timers(house.database_url)
                    await _until_ended(house)
                    load.over.set()
                story.unseen = await _until_told(house, watching)
            finally:
                await _cancel(beside)
                outcomes = await asyncio.gather(*beside, return_exceptions=True)
            _raise_first(outcomes)
        story.disorder = {
            f"watcher {number}": one.complaints
            for number, one in enumerate(watching.watchers)
        }
        async with asyncio.timeout(_DRAIN_SECONDS * asked.replicas):
            await house.drain()
        story.tables = await read_tables(house.database_url)
    history.close()
    return story


async def _rage(asked: Asked, load: Load, producers: list[Producer]) -> None:
    """Hand in while faults fall; return when all is mended and answered."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as handing:
        load.begin(producers, handing)
        await rage(asked.plan, load.house, load.receivers, began=began)
        await asyncio.sleep(began + asked.seconds - loop.time())
        load.calm.set()


async def _until_ended(house: House) -> None:
    """Wait until no job is open; what is open for too long a rule will say."""
    conn = await asyncpg.connect(house.database_url)
    try:
        await until(lambda: _none_open(conn), at_most=_END_SECONDS)
    except AssertionError as error:
        print(f"not all has ended: {error}", flush=True)
    finally:
        await conn.close()


async def _none_open(conn: asyncpg.Connection) -> bool:
    found = await open_jobs(conn)
    assert not found, found
    return True


async def _until_told(
    house: House, watching: Watching
) -> dict[str, list[tuple[int, int]]]:
    """Wait until watchers have seen all; return what each has not seen even then."""
    conn = await asyncpg.connect(house.database_url)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TOLD_SECONDS
    try:
        while (unseen := await watching.unseen(conn, house.history)) and (
            loop.time() < deadline
        ):
            await asyncio.sleep(1)
        return unseen
    finally:
        await conn.close()


async def _look(house: House) -> None:
    """Ask for broken invariants, again and again, whatever else goes on."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            conn = await asyncpg.connect(house.database_url)
            try:
                for name, row in await broken_invariants(conn):
                    job = str(row.get("job_id") or "")
                    house.history.note("invariant", job, name=name, row=str(row))
                house.history.note("looked")
            finally:
                await conn.close()
        except PASSING:
            house.history.counts["could not look"] += 1
        # It reads everything: the more there is, the more seldom.
        await asyncio.sleep(max(_LOOK_SECONDS, 10 * (loop.time() - began)))


async def _tell(history: History, asked: Asked) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        elapsed = loop.time() - began
        print(progress(history.counts, elapsed=elapsed, of=asked.seconds), flush=True)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they end: a client may swallow it, just as an answer comes."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)


def _raise_first(outcomes: Sequence[object]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
