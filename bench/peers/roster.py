"""The peers, and how each is set: as its documents advise, and as measured best here.

A setting means what the peer's adapter says.  Where a peer is faster with other
settings for another row it has them: so each figure is the best we know of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """How many processes handle jobs, and how each is set."""

    processes: int
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another queue."""

    name: str
    #: "python" or "node", and the file of its adapter without its ending.
    language: str
    adapter: str
    #: What counts the jobs that are not finished; empty for who keeps them in Redis.
    open_jobs: str = ""
    #: Jobs of a drain, as a part of Bellhop's: so that it takes some seconds, too.
    share: float
    enqueue: Settings
    bulk: Settings
    #: So many callers, who hand over so many jobs a call.
    bulk_callers: int
    bulk_batch: int
    nothing: Working
    webhook: Working
    #: How it is set when latency is all that counts.
    idle: Working


PEERS: Final = (
    Peer(
        name="graphile-worker",
        language="node",
        adapter="graphile",
        open_jobs="SELECT count(*) FROM graphile_worker._private_jobs",
        share=5.0,
        enqueue={"pool": 16},
        bulk={"pool": 4},
        bulk_callers=2,
        bulk_batch=5000,
        nothing=Working(
            processes=2, settings={"pool": 25, "at_once": 24, "local_queue": 500}
        ),
        webhook=Working(
            processes=2, settings={"pool": 25, "at_once": 64, "local_queue": 500}
        ),
        idle=Working(
            processes=1, settings={"pool": 25, "at_once": 24, "local_queue": 0}
        ),
    ),
    Peer(
        name="pg-boss",
        language="node",
        adapter="pgboss",
        open_jobs="SELECT count(*) FROM pgboss.job WHERE state <> 'completed'",
        share=5.0,
        enqueue={"pool": 16, "notify": False},
        bulk={"pool": 4, "notify": False},
        bulk_callers=2,
        bulk_batch=5000,
        nothing=Working(
            processes=1,
            settings={"pool": 16, "notify": False, "batch": 1000, "local": 4},
        ),
        webhook=Working(
            processes=2,
            settings={
                "pool": 16,
                "notify": False,
                "batch": 64,
                "local": 2,
                "at_once": 64,
            },
        ),
        idle=Working(
            processes=1,
            settings={
                "pool": 16,
                "notify": True,
                "batch": 64,
                "local": 1,
                "at_once": 64,
            },
        ),
    ),
    Peer(
        name="PgQueuer",
        language="python",
        adapter="pgqueuer",
        open_jobs="SELECT count(*) FROM pgqueuer",
        share=2.0,
        enqueue={"pool": 16},
        bulk={"pool": 4},
        bulk_callers=2,
        bulk_batch=1000,
        nothing=Working(
            processes=2,
            settings={"pool": 16, "batch": 500, "tasks_max": None, "at_once": 500},
        ),
        webhook=Working(
            processes=2,
            settings={"pool": 16, "batch": 64, "tasks_max": 128, "at_once": 64},
        ),
        idle=Working(
            processes=1,
            settings={"pool": 16, "batch": 64, "tasks_max": 128, "at_once": 64},
        ),
    ),
    Peer(
        name="procrastinate",
        language="python",
        adapter="procrastinate",
        open_jobs="SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'",
        share=0.25,
        enqueue={"pool": 10},
        bulk={"pool": 4},
        bulk_callers=2,
        bulk_batch=1000,
        nothing=Working(
            processes=2, settings={"pool": 20, "workers": 4, "at_once": 10}
        ),
        webhook=Working(
            processes=2, settings={"pool": 20, "workers": 4, "at_once": 16}
        ),
        idle=Working(processes=1, settings={"pool": 20, "workers": 1, "at_once": 10}),
    ),
    Peer(
        name="Awa",
        language="python",
        adapter="awa",
        open_jobs="SELECT count(*) FROM awa.jobs WHERE state <> 'completed'",
        share=1.0,
        enqueue={"pool": 16},
        bulk={"pool": 4},
        bulk_callers=2,
        bulk_batch=1000,
        nothing=Working(
            processes=2,
            settings={"pool": 16, "at_once": 256, "claimers": 2, "claim_batch": 500},
        ),
        webhook=Working(
            processes=2,
            settings={"pool": 16, "at_once": 64, "claimers": 2, "claim_batch": 64},
        ),
        idle=Working(
            processes=1,
            settings={"pool": 16, "at_once": 64, "claimers": 1, "claim_batch": 64},
        ),
    ),
    Peer(
        name="BullMQ",
        language="node",
        adapter="bullmq",
        share=2.0,
        enqueue={},
        bulk={},
        bulk_callers=1,
        bulk_batch=1000,
        nothing=Working(processes=1, settings={"at_once": 64}),
        webhook=Working(processes=2, settings={"at_once": 64}),
        idle=Working(processes=1, settings={"at_once": 64}),
    ),
)
