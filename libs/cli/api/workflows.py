"""``bellhop workflows``: jobs that wait for jobs."""

import asyncio
from typing import Any

import click

from libs.cli.api.asking import Json, api_command, limit_option
from libs.cli.api.client import Api, at
from libs.cli.output import Output

_id = click.argument("workflow_id", metavar="WORKFLOW")


@api_command()
@click.option("--status", help="pending, running, completed, failed or cancelled.")
@limit_option
async def list_(api: Api, out: Output, *, limit: int, status: str | None) -> None:
    """List workflows, the newest first."""
    pages = api.pages("/workflows", limit=limit, params={"status": status})
    rows = [row async for row in pages]
    out.rows(
        rows,
        (
            "id",
            "name",
            "status",
            "progress_percent",
            "total_jobs",
            "failed_jobs",
            "created_at",
        ),
    )


@api_command()
@_id
async def get(api: Api, out: Output, *, workflow_id: str) -> None:
    """Show a workflow and its jobs."""
    workflow, jobs = await asyncio.gather(
        api.ask("GET", at("workflows", workflow_id)),
        api.ask("GET", at("workflows", workflow_id, "jobs")),
    )
    if out.as_json:
        out.result({**workflow, "jobs": jobs})
        return
    out.record({k: v for k, v in workflow.items() if k != "jobs"})
    out.say()
    out.rows(jobs, ("key", "id", "queue_name", "status"))


@api_command()
@click.argument("definition", type=Json(), metavar="DEFINITION")
async def create(api: Api, out: Output, *, definition: Any) -> None:
    """Make a workflow of a DEFINITION: JSON, @file or -, as POST /workflows has it."""
    made = await api.ask("POST", "/workflows", definition)
    out.result(made, f"{made['id']}  {made['total_jobs']} jobs")


@api_command()
@_id
async def cancel(api: Api, out: Output, *, workflow_id: str) -> None:
    """Cancel a workflow; what has been begun ends by itself."""
    out.record(await api.ask("POST", at("workflows", workflow_id, "cancel")))


@api_command()
@_id
async def retry(api: Api, out: Output, *, workflow_id: str) -> None:
    """Try again what failed of a workflow, and what waited for that."""
    out.record(await api.ask("POST", at("workflows", workflow_id, "retry")))
