"""``bellhop orgs``: what the administrator does with organizations."""

from typing import Any

import click

from libs.cli.api.asking import (
    api_command,
    body_of,
    make_sure,
    set_option,
    yes_option,
)
from libs.cli.api.client import Api, at
from libs.cli.output import Output

_id = click.argument("organization_id", metavar="ORGANIZATION")
_plan = click.option("--plan", "plan_tier", help="free, starter, pro or enterprise.")
_PAGE = 100


@api_command(key="admin")
@click.option("--plan", "plan_tier", help="Only on this plan.")
@click.option("--search", help="Only those in whose name this stands.")
async def list_(api: Api, out: Output, **asked: Any) -> None:
    """List organizations with what they have."""
    rows: list[dict[str, Any]] = []
    while True:
        params = {**asked, "limit": _PAGE, "offset": len(rows)}
        page = await api.ask("GET", "/admin/organizations", params=params)
        rows += page["organizations"]
        if len(rows) >= page["total"] or not page["organizations"]:
            break
    if out.as_json:
        out.rows(rows, ())
        return
    shown = ("id", "slug", "name", "plan_tier", "jobs_today", "active_jobs", "api_keys")
    out.rows(({**row, **row["usage"]} for row in rows), shown)


@api_command(key="admin")
@_id
async def get(api: Api, out: Output, *, organization_id: str) -> None:
    """Show an organization, its plan, and how much of it is used."""
    out.record(await api.ask("GET", at("admin", "organizations", organization_id)))


@api_command(key="admin")
@click.argument("name")
@click.argument("slug")
@_plan
@set_option
async def create(
    api: Api, out: Output, *, fields: tuple[tuple[str, Any], ...], **named: Any
) -> None:
    """Found an organization; the answer has its first API key, this once."""
    body = body_of(fields, **named)
    made = await api.ask("POST", "/admin/organizations", body)
    if out.as_json:
        out.result(made)
        return
    out.record({**made["organization"], "api_key": made["api_key"]["key"]})


@api_command(key="admin")
@_id
@_plan
@click.option("--weight", type=int, help="Its part of what is sent at once.")
@set_option
async def update(
    api: Api,
    out: Output,
    *,
    organization_id: str,
    fields: tuple[tuple[str, Any], ...],
    **named: Any,
) -> None:
    """Change an organization; what is not named stays as it is."""
    path = at("admin", "organizations", organization_id)
    out.record(await api.ask("PATCH", path, body_of(fields, **named)))


@api_command(key="admin")
@_id
@click.option("--hard", is_flag=True, help="Erase all it has, too.")
@yes_option
async def delete(
    api: Api,
    out: Output,
    *,
    organization_id: str,
    hard: bool,
    yes: bool,
) -> None:
    """Close an organization."""
    make_sure(f"Close the organization {organization_id}?", yes=yes)
    path = at("admin", "organizations", organization_id)
    await api.ask("DELETE", path, params={"hard": hard})
    out.result({"closed": organization_id}, f"{organization_id} is closed.")
