"""``bellhop schedules``: jobs that are made again and again."""

from typing import Any

import click

from libs.cli.api.asking import (
    ABSENT,
    Json,
    api_command,
    body_of,
    limit_option,
    make_sure,
    set_option,
    yes_option,
)
from libs.cli.api.client import Api, at
from libs.cli.output import Output

_id = click.argument("schedule_id", metavar="SCHEDULE")


@api_command()
@click.option("--queue", "queue_name", help="Only of this queue.")
@limit_option
async def list_(api: Api, out: Output, *, limit: int, **asked: Any) -> None:
    """List schedules with what comes next."""
    rows = [row async for row in api.pages("/schedules", limit=limit, params=asked)]
    out.rows(
        rows,
        (
            "id",
            "name",
            "cron_expression",
            "timezone",
            "queue_name",
            "state",
            "next_run_at",
            "run_count",
        ),
    )


@api_command()
@_id
async def get(api: Api, out: Output, *, schedule_id: str) -> None:
    """Show a schedule."""
    out.record(await api.ask("GET", at("schedules", schedule_id)))


@api_command()
@click.argument("name")
@click.argument("cron_expression", metavar="CRON")
@click.argument("queue_name", metavar="QUEUE")
@click.argument(
    "payload_template",
    metavar="PAYLOAD",
    type=Json(),
    required=False,
    default=ABSENT,
)
@click.option("--timezone", help="As Europe/Paris; UTC unless said.")
@click.option("--to", "to_url", metavar="URL", help="Push its jobs to this URL.")
@set_option
async def create(
    api: Api,
    out: Output,
    *,
    payload_template: Any,
    to_url: str | None,
    fields: tuple[tuple[str, Any], ...],
    **named: Any,
) -> None:
    """Make a schedule: at each time of CRON a job with PAYLOAD in QUEUE."""
    target = {"url": to_url} if to_url else None
    body = body_of(fields, **named, target=target)
    payload = {} if payload_template is ABSENT else payload_template
    body.setdefault("payload_template", payload)
    out.record(await api.ask("POST", "/schedules", body))


@api_command()
@click.argument("cron_expression", metavar="CRON")
@click.option("--timezone", help="As Europe/Paris; UTC unless said.")
@click.option("--count", type=int, help="How many times to show.")
async def preview(api: Api, out: Output, **named: Any) -> None:
    """Show when a CRON would fire, without a schedule."""
    out.record(await api.ask("POST", "/schedules/preview", body_of((), **named)))


@api_command()
@_id
async def trigger(api: Api, out: Output, *, schedule_id: str) -> None:
    """Make a job of a schedule now."""
    out.record(await api.ask("POST", at("schedules", schedule_id, "trigger")))


@api_command()
@_id
async def pause(api: Api, out: Output, *, schedule_id: str) -> None:
    """Let a schedule fire no more."""
    out.record(await api.ask("POST", at("schedules", schedule_id, "pause")))


@api_command()
@_id
async def resume(api: Api, out: Output, *, schedule_id: str) -> None:
    """Let a schedule fire again."""
    out.record(await api.ask("POST", at("schedules", schedule_id, "resume")))


@api_command()
@_id
@limit_option
async def history(api: Api, out: Output, *, schedule_id: str, limit: int) -> None:
    """List what became of each tick, the latest first."""
    pages = api.pages(at("schedules", schedule_id, "history"), limit=limit)
    rows = [row async for row in pages]
    out.rows(rows, ("started_at", "status", "job_id", "error_message"))


@api_command()
@_id
@yes_option
async def delete(api: Api, out: Output, *, schedule_id: str, yes: bool) -> None:
    """Forget a schedule; jobs it has made stay."""
    make_sure(f"Delete the schedule {schedule_id}?", yes=yes)
    await api.ask("DELETE", at("schedules", schedule_id))
    out.result({"deleted": schedule_id}, f"{schedule_id} is deleted.")
