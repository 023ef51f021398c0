"""``bellhop queues``: how they stand, and what they may."""

import asyncio
from typing import Any

import click

from libs.cli.api.asking import (
    api_command,
    body_of,
    limit_option,
    make_sure,
    set_option,
    yes_option,
)
from libs.cli.api.client import Api, at
from libs.cli.output import Output
from libs.cli.settings import Unusable

_name = click.argument("name")


@api_command()
@limit_option
async def list_(api: Api, out: Output, *, limit: int) -> None:
    """List queues with what they have to do."""
    queues = [row async for row in api.pages("/queues", limit=limit)]
    stats = [
        await api.ask("GET", at("queues", q["queue_name"], "stats")) for q in queues
    ]
    rows = [{**one, **figures} for one, figures in zip(queues, stats, strict=True)]
    out.rows(
        rows,
        (
            "queue_name",
            "pending_jobs",
            "processing_jobs",
            "scheduled_jobs",
            "deadletter_jobs",
            "completed_jobs_24h",
            "active_workers",
            "paused",
        ),
    )


@api_command()
@_name
async def get(api: Api, out: Output, *, name: str) -> None:
    """Show how a queue is configured, and how it stands."""
    queue, stats = await asyncio.gather(
        api.ask("GET", at("queues", name)), api.ask("GET", at("queues", name, "stats"))
    )
    out.record({**queue, **stats})


@api_command()
@_name
@click.option("--rate-limit", type=int, help="Jobs begun a second.")
@click.option("--no-rate-limit", "unlimited", is_flag=True, help="As many as come.")
@click.option("--concurrency", type=int, help="Jobs worked on at once.")
@click.option("--max-retries", type=int, help="Of jobs that do not say.")
@click.option("--timeout-seconds", type=int, help="Of jobs that do not say.")
@set_option
async def configure(
    api: Api,
    out: Output,
    *,
    name: str,
    rate_limit: int | None,
    unlimited: bool,
    concurrency: int | None,
    fields: tuple[tuple[str, Any], ...],
    **named: Any,
) -> None:
    """Configure a queue; what is not named stays as it is."""
    if unlimited and rate_limit is not None:
        raise Unusable("--no-rate-limit: takes away what --rate-limit sets")
    body = body_of(fields, **named, rate_limit=rate_limit)
    if unlimited:
        body["rate_limit"] = None
    if concurrency is not None:
        body["settings"] = {**body.get("settings", {}), "concurrency": concurrency}
    out.record(await api.ask("PUT", at("queues", name, "config"), body))


@api_command()
@_name
@click.option("--reason", help="Why, for people to read.")
async def pause(api: Api, out: Output, *, name: str, reason: str | None) -> None:
    """Hand out no more jobs of a queue; new ones are taken in."""
    body = {"reason": reason} if reason else {}
    out.record(await api.ask("POST", at("queues", name, "pause"), body))


@api_command()
@_name
async def resume(api: Api, out: Output, *, name: str) -> None:
    """Hand out jobs of a queue again."""
    out.record(await api.ask("POST", at("queues", name, "resume")))


@api_command()
@_name
@click.option("--delete-jobs", is_flag=True, help="Cancel and purge its jobs, too.")
@yes_option
async def delete(
    api: Api,
    out: Output,
    *,
    name: str,
    delete_jobs: bool,
    yes: bool,
) -> None:
    """Forget a queue's configuration; refused while it has jobs."""
    make_sure(f"Delete the queue {name}?", yes=yes)
    params = {"delete_jobs": delete_jobs}
    await api.ask("DELETE", at("queues", name), params=params)
    out.result({"deleted": name}, f"{name} is deleted.")
