"""``bellhop receiver``: a customer's server that shows what it gets.

It checks signatures with what `libs.common.verification` offers to any receiver, and
says when a message was there before.
"""

import argparse
import errno
from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web

from libs.cli.first_run import look_up
from libs.cli.ground import credentials
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import read_stack
from libs.common.errors import BellhopError
from libs.common.verification import Seen, Unverified, Verifier


class Checker:
    """Checks signatures with the secret of the stack, also after it changed.

    With *keys* too, which are those of endpoints: secrets and public keys.
    """

    def __init__(self, settings: StackSettings, keys: Sequence[str] = ()) -> None:
        """Read the secret of the running stack; raises `NothingRuns`."""
        self._settings = settings
        self._keys = keys
        self._secret = read_stack(settings.data_dir).signing_secret
        self._seen = Seen()
        self._verifier = self._verifier_of(self._secret)

    async def verdict(self, body: bytes, headers: Mapping[str, str]) -> str:
        """Return what to say of a signature.

        The stack may have been made anew, or the secret rotated, since we read it: it
        is read again before a signature is called wrong.
        """
        if self._verifier is None:
            return "not checked: the secret is not known"
        try:
            verified = self._verifier.verify(body, headers)
        except Unverified:
            await self._read_again()
            self._verifier = self._verifier_of(self._secret) or self._verifier
            try:
                verified = self._verifier.verify(body, headers)
            except Unverified as error:
                return f"WRONG: {error}"
        again = self._seen.before(verified.id)
        return "verified, and it was here before" if again else "verified"

    def _verifier_of(self, secret: str | None) -> Verifier | None:
        keys = [*([secret] if secret else []), *self._keys]
        try:
            return Verifier(keys) if keys else None
        except ValueError as error:
            raise Unusable(f"--key: {error}") from error

    async def _read_again(self) -> None:
        """Take the newest secret; keep the one we have where nobody can tell."""
        try:
            stack = read_stack(self._settings.data_dir)
            self._secret = stack.signing_secret or self._secret
            access = await look_up(stack.database_url, credentials(self._settings))
        except BellhopError:
            return
        self._secret = access.signing_secret or self._secret


def _shown(body: bytes) -> str:
    """Return the bytes as they came; what would steer a terminal becomes U+FFFD."""
    text = body.decode(errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def receiver(arguments: argparse.Namespace) -> int:
    """Receive webhooks until Ctrl-C; answer each with *status*."""
    checker = Checker(StackSettings.from_env(), arguments.key)
    port: int = arguments.port

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        moment = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        print(
            f"{moment}  {request.method} {request.path_qs}  "
            f"webhook-id {request.headers.get('webhook-id', 'missing')}  "
            f"signature {await checker.verdict(body, request.headers)}\n"
            f"    {_shown(body)}",
            flush=True,
        )
        return web.Response(status=arguments.status)

    def listening(_: str) -> None:
        print(f"Receiving on http://127.0.0.1:{port}/, until Ctrl-C.", flush=True)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    try:
        web.run_app(app, host="127.0.0.1", port=port, print=listening)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unusable(
                f"port {port} is taken; another one: "
                f"make receiver RECEIVER_PORT={port + 1}"
            ) from error
        raise Unusable(f"--port: {error.strerror}") from error
    return 0
