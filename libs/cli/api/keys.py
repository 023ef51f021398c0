"""``bellhop keys``: what opens the API."""

from typing import Any

import click

from libs.cli.api.asking import (
    api_command,
    body_of,
    limit_option,
    make_sure,
    yes_option,
)
from libs.cli.api.client import Api, at
from libs.cli.output import Output


@api_command()
@limit_option
async def list_(api: Api, out: Output, *, limit: int) -> None:
    """List API keys; what they are is never shown again."""
    rows = [row async for row in api.pages("/api-keys", limit=limit)]
    out.rows(rows, ("id", "name", "queues", "rate_limit", "is_active", "last_used"))


@api_command()
@click.argument("name")
@click.option("--queue", "queues", multiple=True, help="Only for it; may be repeated.")
@click.option("--rate-limit", type=int, help="Requests a minute.")
@click.option("--expires-at", help="Refused from this time on.")
async def create(
    api: Api, out: Output, *, queues: tuple[str, ...], **named: Any
) -> None:
    """Make an API key; it is shown this once."""
    body = body_of((), **named, queues=list(queues) or None)
    made = await api.ask("POST", "/api-keys", body)
    out.result(made, made["key"])


@api_command()
@click.argument("key_id", metavar="KEY")
@yes_option
async def revoke(api: Api, out: Output, *, key_id: str, yes: bool) -> None:
    """Let a key (its id) open nothing more, from now on."""
    make_sure(f"Revoke the key {key_id}?", yes=yes)
    await api.ask("DELETE", at("api-keys", key_id))
    out.result({"revoked": key_id}, f"{key_id} is revoked.")
