"""The command: gathers what was found, and shows it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Final

import click

from libs.cli.commands import Command
from libs.cli.doctor.database import look_at_database
from libs.cli.doctor.finding import Finding, State
from libs.cli.doctor.messaging import look_at_nats
from libs.cli.doctor.surroundings import look_at_disk, look_at_services
from libs.cli.output import Output
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import NothingRuns, StackFile, read_stack
from libs.common.log import start_logging

_MARKS: Final[dict[State, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "warn": ("warn", "yellow"),
    "fail": ("FAIL", "red"),
}


@click.command(cls=Command)
@click.option("--url", envvar="BELLHOP_URL", help="Ask this Bellhop whether it is up.")
@click.pass_obj
def doctor(out: Output, url: str | None) -> int:
    """Look at everything that Bellhop stands on, and say what to do.

    Asks the stack of this machine, or DATABASE_URL, NATS_URL and --url; changes
    nothing. Ends with 1 when something is broken.
    """
    # What the bus logs of its own is what we say in better words.
    start_logging("doctor", level="error")
    found = asyncio.run(_gather(out, url))
    failed = sum(one.state == "fail" for one in found)
    warned = sum(one.state == "warn" for one in found)
    out.result(
        {"ok": not failed, "checks": [asdict(one) for one in found]},
        f"\n{len(found)} checks, {failed} failed, {warned} to look at.",
    )
    return 1 if failed else 0


async def _gather(out: Output, url: str | None) -> list[Finding]:
    found = []
    async for finding in _look(url):
        found.append(finding)
        if not out.as_json:
            _show(out, finding)
    return found


async def _look(url: str | None) -> AsyncIterator[Finding]:
    settings = StackSettings.from_env()
    stack = _stack(settings)
    database_url = settings.database_url and settings.database_url.get_secret_value()
    nats_url = settings.nats_url
    readiness = {"API": f"{url.rstrip('/')}/health/ready"} if url else {}
    if stack is not None:
        database_url = database_url or stack.database_url
        nats_url = nats_url or stack.nats_url
        readiness |= {name: one.health_url for name, one in stack.services.items()}
    if not (database_url or nats_url or readiness):
        raise Unusable(
            f"nothing to look at: no stack runs in {settings.data_dir}, and none of "
            "DATABASE_URL, NATS_URL and BELLHOP_URL is given"
        )
    if database_url:
        async for finding in look_at_database(database_url):
            yield finding
    if nats_url:
        async for finding in look_at_nats(nats_url):
            yield finding
    async for finding in look_at_services(readiness):
        yield finding
    if settings.data_dir.is_dir():
        yield look_at_disk(settings.data_dir)


def _stack(settings: StackSettings) -> StackFile | None:
    try:
        return read_stack(settings.data_dir)
    except NothingRuns:
        return None


def _show(out: Output, finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    styled = click.style(f"{mark:<4}", fg=colour)
    click.echo(f"{styled}  {finding.check:<24}  {finding.found}")
    if finding.advice:
        out.say(f"{'':<32}→ {finding.advice}")
