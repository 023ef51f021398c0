"""``bellhop receiver``: a customer's server that shows what it gets.

It checks signatures with what `libs.common.verification` offers to any receiver, and
says when a message was there before.
"""

import errno
from collections.abc import Mapping, Sequence
from datetime import datetime

import click
from aiohttp import web

from libs.cli.commands import Command
from libs.cli.first_run import look_up
from libs.cli.ground import credentials
from libs.cli.output import Output
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


@click.command(cls=Command)
@click.option("--port", type=int, default=9000, show_default=True)
@click.option(
    "--status", type=int, default=204, show_default=True, help="What to answer."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="An endpoint's secret (whsec_…) or public key (whpk_…); may be repeated.",
)
@click.pass_obj
def receiver(out: Output, port: int, status: int, keys: tuple[str, ...]) -> None:
    """Receive webhooks until Ctrl-C, check their signatures, and show them."""
    checker = Checker(StackSettings.from_env(), keys)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        now = datetime.now().astimezone()
        told = {
            "time": now.isoformat(),
            "method": request.method,
            "path": request.path_qs,
            "webhook_id": request.headers.get("webhook-id"),
            "signature": await checker.verdict(body, request.headers),
            "body": body.decode(errors="replace"),
        }
        out.result(
            told,
            f"{now:%H:%M:%S}.{now.microsecond // 1000:03}  "
            f"{request.method} {request.path_qs}  "
            f"webhook-id {told['webhook_id'] or 'missing'}  "
            f"signature {told['signature']}\n"
            f"    {_shown(body)}",
        )
        return web.Response(status=status)

    def listening(_: str) -> None:
        out.say(f"Receiving on http://127.0.0.1:{port}/, until Ctrl-C.")

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
