"""``bellhop receiver``: a customer's server that shows what it gets.

It checks signatures with the package ``standardwebhooks``, as a stranger would.
"""

import argparse
import json
from datetime import datetime

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import read_stack


def receiver(arguments: argparse.Namespace) -> int:
    """Receive webhooks until Ctrl-C; answer each with *status*."""
    secret = read_stack(StackSettings.from_env().data_dir).signing_secret
    webhook = Webhook(secret) if secret else None

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        moment = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        print(
            f"{moment}  {request.method} {request.path_qs}  "
            f"webhook-id {request.headers.get('webhook-id', 'missing')}  "
            f"signature {_verdict(webhook, body, request)}\n    {_shown(body)}",
            flush=True,
        )
        return web.Response(status=arguments.status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    print(f"Receiving on http://127.0.0.1:{arguments.port}/, until Ctrl-C.", flush=True)
    try:
        web.run_app(app, host="127.0.0.1", port=arguments.port, print=None)
    except OSError as error:
        raise Unusable(f"--port: {error.strerror}") from error
    return 0


def _verdict(webhook: Webhook | None, body: bytes, request: web.Request) -> str:
    if webhook is None:
        return "not checked: the secret is not known"
    try:
        webhook.verify(body, dict(request.headers))
    except WebhookVerificationError as error:
        return f"WRONG: {error}"
    return "verified"


def _shown(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        return repr(body)
