"""``bellhop endpoints``: receivers that are described once."""

from typing import Any

import click

from libs.cli.api.asking import (
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

_id = click.argument("endpoint_id", metavar="ENDPOINT")
_events = click.option(
    "--event",
    "event_types",
    multiple=True,
    help="A type it wants, as invoice.paid or invoice.*; may be repeated.",
)


@api_command()
@limit_option
async def list_(api: Api, out: Output, *, limit: int) -> None:
    """List endpoints and how they do."""
    rows = [row async for row in api.pages("/endpoints", limit=limit)]
    if out.as_json:
        out.rows(rows, ())
        return
    shown = ("id", "url", "enabled", "breaker", "waiting", "failed_24h", "last_error")
    out.rows(({**row, **row["stats"]} for row in rows), shown)


@api_command()
@_id
async def get(api: Api, out: Output, *, endpoint_id: str) -> None:
    """Show an endpoint, its secrets never."""
    out.record(await api.ask("GET", at("endpoints", endpoint_id)))


@api_command()
@click.argument("url", metavar="RECEIVER")
@_events
@click.option("--description")
@click.option("--filter", "filter_", type=Json(), help="Which payloads it gets.")
@set_option
async def create(
    api: Api,
    out: Output,
    *,
    filter_: Any,
    event_types: tuple[str, ...],
    fields: tuple[tuple[str, Any], ...],
    **named: Any,
) -> None:
    """Describe a receiver (its URL); the answer has its secret, this once."""
    named |= {"filter": filter_, "event_types": list(event_types) or None}
    out.record(await api.ask("POST", "/endpoints", body_of(fields, **named)))


@api_command()
@_id
@click.option("--enable/--disable", "enabled", default=None)
@_events
@set_option
async def update(
    api: Api,
    out: Output,
    *,
    endpoint_id: str,
    enabled: bool | None,
    event_types: tuple[str, ...],
    fields: tuple[tuple[str, Any], ...],
) -> None:
    """Change an endpoint; what is not named stays as it is."""
    body = body_of(fields, enabled=enabled, event_types=list(event_types) or None)
    out.record(await api.ask("PATCH", at("endpoints", endpoint_id), body))


@api_command()
@_id
@click.option("--event", "event_type", help="The type that the test says it has.")
@click.option("--payload", type=Json())
async def test(api: Api, out: Output, *, endpoint_id: str, **named: Any) -> int:
    """Make one request now, signed as any other; ends with 1 when it is not taken."""
    path = at("endpoints", endpoint_id, "test")
    told = await api.ask("POST", path, body_of((), **named))
    out.record(told)
    return 0 if told["success"] else 1


@api_command()
@_id
@click.option("--status", type=click.Choice(["failed", "delivered"]))
@limit_option
async def attempts(
    api: Api, out: Output, *, endpoint_id: str, limit: int, status: str | None
) -> None:
    """List what was sent to an endpoint, the latest first."""
    pages = api.pages(
        at("endpoints", endpoint_id, "attempts"), limit=limit, params={"status": status}
    )
    rows = [row async for row in pages]
    shown = ("started_at", "event_type", "outcome", "status_code", "error", "job_id")
    out.rows(rows, shown)


@api_command()
@_id
@click.option("--overlap-seconds", type=int, help="How long the old one signs along.")
async def rotate_secret(
    api: Api, out: Output, *, endpoint_id: str, overlap_seconds: int | None
) -> None:
    """Make a new secret, shown this once; the old one signs along for a while."""
    body = body_of((), overlap_seconds=overlap_seconds)
    path = at("endpoints", endpoint_id, "secret", "rotate")
    out.record(await api.ask("POST", path, body))


@api_command()
@_id
@click.option("--since", required=True, help="From this time on.")
@click.option("--until", help="Up to this time.")
@click.option("--status", type=click.Choice(["failed", "missed", "all"]))
@click.option("--rate", "rate_per_second", type=float, help="So many a second.")
async def replay(api: Api, out: Output, *, endpoint_id: str, **named: Any) -> None:
    """Send again what failed, or was missed, in a time."""
    path = at("endpoints", endpoint_id, "replay")
    out.record(await api.ask("POST", path, body_of((), **named)))


@api_command()
@_id
@limit_option
async def replays(api: Api, out: Output, *, endpoint_id: str, limit: int) -> None:
    """List what an endpoint is sent again and how far that came, the newest first."""
    pages = api.pages(at("endpoints", endpoint_id, "replays"), limit=limit)
    rows = [row async for row in pages]
    shown = ("id", "state", "status", "since", "until", "replayed", "progress_percent")
    out.rows(rows, shown)


@api_command()
@click.argument("replay_id", metavar="REPLAY")
async def cancel_replay(api: Api, out: Output, *, replay_id: str) -> None:
    """End a replay; what was sent again already stays so."""
    out.record(await api.ask("POST", at("replays", replay_id, "cancel")))


@api_command()
@_id
@yes_option
async def delete(api: Api, out: Output, *, endpoint_id: str, yes: bool) -> None:
    """Forget an endpoint."""
    make_sure(f"Delete the endpoint {endpoint_id}?", yes=yes)
    await api.ask("DELETE", at("endpoints", endpoint_id))
    out.result({"deleted": endpoint_id}, f"{endpoint_id} is deleted.")
