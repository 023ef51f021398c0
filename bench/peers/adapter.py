"""What every adapter in Python is: a program that does a plan with one peer.

``python -m bench.peers.PEER PLAN RESULT`` (JSON files, see `plans`).  It runs in the
peer's environment, so all of it is the standard library, uvloop and aiohttp.
``node/adapter.mjs`` is the same for Node.js: who changes one changes both.
"""

import json
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import uvloop

from bench.peers.handler import Handle, Handler
from bench.peers.plans import Plan, Result
from bench.peers.producing import Producer, Producing


class Peer(Protocol):
    """What an adapter knows of its peer."""

    #: The name of its distribution.
    distribution: str

    async def set_up(self, plan: Plan) -> None:
        """Make the tables."""

    def open_producer(self, plan: Plan) -> AbstractAsyncContextManager[Producer]:
        """Give what creates jobs, until the block ends."""

    async def work(self, plan: Plan, handle: Handle) -> None:
        """Handle jobs until the process is ended."""


async def carry_out(peer: Peer, plan: Plan) -> Result:
    """Do what *plan* says."""
    match plan.do:
        case "setup":
            await peer.set_up(plan)
            return Result(version=version(peer.distribution))
        case "work":
            async with Handler(plan) as handler:
                await peer.work(plan, handler.handle)
            raise RuntimeError("the worker ended by itself")
        case _:
            async with peer.open_producer(plan) as producer:
                return await Producing(plan, producer).run()


def main(peer: Peer) -> None:
    """Do the plan that the command line names, and write its result."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_bytes()))
    result = uvloop.run(carry_out(peer, plan))
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)))
