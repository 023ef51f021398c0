"""The whole comparison: Bellhop and its peers in turn, row by row, on one machine."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.children import Broken
from bench.house import House
from bench.peers.comparison import Comparison
from bench.peers.crew import Crew
from bench.peers.environments import Environments, Skipped
from bench.peers.plans import Plan
from bench.peers.roster import Peer
from bench.peers.rows import BESIDE, Ground, Measure
from bench.peers.stores import PostgresStore, Store, open_redis
from bench.row import Options, Row, middle
from bench.rows import measure_all

Tell = Callable[[str], None]
#: Every row that a peer can be beside.
NAMES = tuple(name for names in BESIDE.values() for name in names)


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer with what runs its adapter, or why there is none."""

    peer: Peer
    command: Sequence[str | Path] = ()
    #: Of a peer that keeps its jobs there.
    redis: Path | None = None
    skipped: str = ""


def install(
    peers: Sequence[Peer], environments: Environments, tell: Tell
) -> list[Installed]:
    """Install what is missing."""
    found = []
    for peer in peers:
        try:
            command = environments.command_of(peer)
            redis = None if peer.open_jobs else environments.redis_server()
            found.append(Installed(peer, command, redis))
        except (Skipped, OSError) as why:
            found.append(Installed(peer, skipped=str(why)))
            tell(f"{peer.name} is skipped: {why}")
    return found


async def compare(
    house: House,
    installed: Sequence[Installed],
    names: Sequence[str],
    options: Options,
    tell: Tell,
) -> list[Comparison]:
    """Measure every row named of every peer, beside Bellhop's.

    Each run of a row is measured right after Bellhop's own, whose services are
    stopped meanwhile.  Raises `Broken` if Bellhop's row cannot be believed; a peer's
    that cannot is skipped.
    """
    once = replace(options, runs=1)
    bellhop: defaultdict[str, list[Row]] = defaultdict(list)
    theirs: defaultdict[tuple[Measure, str], list[Row]] = defaultdict(list)
    skipped: dict[tuple[Measure, str], str] = {}
    async with _grounds(house, installed, tell) as (grounds, reasons):
        for measure, beside in BESIDE.items():
            wanted = [name for name in beside if name in names]
            skipped |= {(measure, name): why for name, why in reasons.items()}
            for _ in range(options.runs if wanted else 0):
                for name in wanted:
                    bellhop[name].append(await _own(house, name, once))
                    tell(_sentence(name, "Bellhop", bellhop[name][-1]))
                async with _aside(house):
                    for ground in grounds:
                        key = measure, ground.peer.name
                        if key in skipped:
                            continue
                        try:
                            theirs[key].append(await measure(ground, once))
                        except Broken as why:
                            skipped[key] = str(why)
                            tell(f"{wanted[0]:<19} {ground.peer.name}: {why}")
                        else:
                            tell(_sentence(wanted[0], key[1], theirs[key][-1]))
    versions = {ground.peer.name: ground.version for ground in grounds}
    return [
        Comparison(
            name=name,
            peer=one.peer.name,
            version=versions.get(one.peer.name, ""),
            bellhop=middle(bellhop[name]),
            row=None if key in skipped else middle(theirs[key]),
            skipped=skipped.get(key, ""),
        )
        for measure, beside in BESIDE.items()
        for name in beside
        if name in names
        for one in installed
        for key in [(measure, one.peer.name)]
    ]


async def _own(house: House, name: str, options: Options) -> Row:
    await house.conn.execute("CHECKPOINT")
    rows = await measure_all(house, options, [name], lambda _: None)
    return next(row for row in rows if row.name == name)


@asynccontextmanager
async def _aside(house: House) -> AsyncIterator[None]:
    """Have Bellhop out of the way until the block ends."""
    await house.stop_services()
    # What it left for later would else be done while others are measured.
    await house.conn.execute("VACUUM ANALYZE")
    await house.conn.execute("CHECKPOINT")
    yield
    await house.start_services()


@asynccontextmanager
async def _grounds(
    house: House, installed: Sequence[Installed], tell: Tell
) -> AsyncIterator[tuple[list[Ground], dict[str, str]]]:
    """Give what each peer is measured on, and why some have nothing."""
    grounds, reasons = [], {}
    async with AsyncExitStack() as stack:
        for one in installed:
            if one.skipped:
                reasons[one.peer.name] = one.skipped
                continue
            try:
                store = await _store(house, one, stack)
                crew = Crew(one.command, house.directory)
                plan = Plan(do="setup", url=await store.foundation())
                version = (await crew.carry_out(plan)).version
            except Broken as why:
                reasons[one.peer.name] = str(why)
                tell(f"{one.peer.name} is skipped: {why}")
            else:
                grounds.append(Ground(one.peer, version, house, store, crew))
        yield grounds, reasons


async def _store(house: House, one: Installed, stack: AsyncExitStack) -> Store:
    if one.redis is not None:
        redis = open_redis(one.redis, house.directory / "redis")
        return await stack.enter_async_context(redis)
    return PostgresStore(house, name=one.peer.adapter, open_jobs=one.peer.open_jobs)


def _sentence(name: str, who: str, row: Row) -> str:
    p50 = "" if row.p50_ms is None else f"   p50 {row.p50_ms:,.1f} ms"
    return f"{name:<19} {who:<16} {row.rate:>9,.0f} jobs/s{p50}"
