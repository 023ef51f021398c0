"""What to say of a stack that is ready, and what to try on it."""

import json
import shlex
from typing import Final

from libs.cli.settings import GRPC_PORT, HTTP_PORT, StackSettings
from libs.cli.stack_file import StackFile

RECEIVER_PORT: Final = 9000


def guide(stack: StackFile, settings: StackSettings) -> str:
    """Return what to tell the one who started *stack*."""
    data_dir = settings.data_dir
    lines = [
        f"  Dashboard  {stack.base_url}",
        f"  API        {stack.base_url}/api/v1",
        f"  Docs       {stack.base_url}/docs",
        f"  gRPC       {stack.grpc_address}",
        f"  Key        {stack.api_key or 'none: see below'}",
        f"  Admin key  {stack.admin_key}",
        f"  Logs       {data_dir / 'logs'}",
        f"  The rest   {data_dir / 'stack.json'}",
        "",
    ]
    return "\n".join([*lines, *_advice(stack, settings)])


def _advice(stack: StackFile, settings: StackSettings) -> list[str]:
    if stack.api_key is None:
        return [
            "This database has organizations that were not made here, so there is no",
            "key to show. To make an organization of your own, with a key:",
            "",
            _curl(
                f"{stack.base_url}/api/v1/admin/organizations",
                f"X-Admin-Key: {stack.admin_key}",
                {
                    "name": "My organization",
                    "slug": "mine",
                    "plan_tier": "enterprise",
                },
            ),
        ]
    if settings.environment == "production":
        return ["This is production: targets must be public https URLs."]
    return [
        "Try it. In a second terminal, start a receiver that checks signatures:",
        "",
        "  make receiver",
        "",
        "and in a third one send it a webhook:",
        "",
        _curl(
            f"{stack.base_url}/api/v1/jobs",
            f"Authorization: Bearer {stack.api_key}",
            {
                "queue_name": "greetings",
                "payload": {"hello": "world"},
                "target": {"url": f"http://127.0.0.1:{RECEIVER_PORT}/"},
            },
        ),
        "",
        "`make demo` shows retries and a dead letter.",
    ]


def taken(usual: int, port: int, variable: str) -> str:
    """Return what to say of a *port* that is used because the usual one is taken."""
    return f"  Port {usual} is taken: using {port}. {variable} names another one."


def moved(stack: StackFile, settings: StackSettings) -> list[str]:
    """Return what to say of the ports of *stack* that are not the usual ones."""
    return [
        taken(usual, port, variable)
        for wanted, usual, address, variable in (
            (settings.port, HTTP_PORT, stack.base_url, "BELLHOP_PORT"),
            (settings.grpc_port, GRPC_PORT, stack.grpc_address, "BELLHOP_GRPC_PORT"),
        )
        if wanted is None and (port := int(address.rpartition(":")[2])) != usual
    ]


def _curl(url: str, header: str, body: object) -> str:
    return (
        f"  curl {url} \\\n"
        f"    -H {shlex.quote(header)} \\\n"
        f"    -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(json.dumps(body))}"
    )
