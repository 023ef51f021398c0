"""What to try on a stack that is ready."""

import json
import shlex
from typing import Final

from libs.cli.settings import StackSettings
from libs.cli.stack_file import StackFile

RECEIVER_PORT: Final = 9000


def guide(stack: StackFile, settings: StackSettings) -> str:
    """Return what to tell the one who started *stack*."""
    data_dir = settings.data_dir
    lines = [
        f"  API        {stack.base_url}/api/v1",
        f"  gRPC       {stack.grpc_address}",
        f"  Key        {stack.api_key or 'none: see below'}",
        f"  Admin key  {stack.admin_key}",
        f"  Logs       {data_dir / 'logs'}",
        f"  The rest   {data_dir / 'stack.json'}",
        "",
    ]
    if stack.api_key is None:
        lines += [
            "This database has organizations that were not made here, so there is no",
            "key to show. To make an organization of your own, with a key:",
            "",
            _curl(
                f"{stack.base_url}/api/v1/organizations",
                f"X-Admin-Key: {stack.admin_key}",
                {"name": "My organization", "slug": "mine"},
            ),
        ]
    elif settings.environment == "production":
        lines.append("This is production: targets must be public https URLs.")
    else:
        lines += [
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
    return "\n".join(lines)


def _curl(url: str, header: str, body: object) -> str:
    return (
        f"  curl {url} \\\n"
        f"    -H {shlex.quote(header)} \\\n"
        f"    -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(json.dumps(body))}"
    )
