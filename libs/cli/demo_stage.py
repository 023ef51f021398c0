"""What `make demo` plays on: the terminal, receivers on this machine, the event stream.

Whatever happens is told to a `Stage` as it happens.  It shows it, and the story waits
there for what it expects (`Stage.until`).
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from libs.cli.output import Output
from libs.common.errors import BellhopError
from libs.common.health import serve_http

#: ECMA-48: how a terminal is told of colours.
_COLOURS: Final = {"good": "32", "bad": "31", "loud": "1", "dim": "2"}


class DidNotHappen(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """Something that the demo promises to show did not happen."""


class Stage:
    """Shows what happens, and knows what has."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began = time.monotonic()
        self._coloured = (
            sys.stdout.isatty() and not out.as_json and not os.environ.get("NO_COLOR")
        )
        self._names: dict[str, str] = {}
        self._early: list[dict[str, Any]] = []
        self._facts: set[tuple[str, str]] = set()
        self._bell = asyncio.Event()
        #: What the story waits for, in words, in case it never comes.
        self.awaited = "the event stream opens"

    # --- the terminal ----------------------------------------------------------------

    def title(self, text: str) -> None:
        """Begin a new scene."""
        self._out.say(f"\n{self.coloured(text, 'loud')}")

    def say(self, text: str) -> None:
        """Say something of this scene."""
        self._out.say(f"  {text}")

    def coloured(self, text: str, kind: str) -> str:
        """Return *text* in a colour, when it is for a terminal."""
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._coloured else text

    def _happened(self, what: str, who: str, text: str) -> None:
        elapsed = self.coloured(f"{time.monotonic() - self._began:5.2f} s", "dim")
        self.say(f"{elapsed}  {what:<7}  {who:<6}  {text}")

    # --- what happened ---------------------------------------------------------------

    def arrived(self, who: str, attempt: int, *, verdict: str, status: int) -> None:
        """Tell of a webhook that came to a receiver, and what that answered."""
        good = verdict == "verified"
        signature = self.coloured(f"signature {verdict}", "good" if good else "bad")
        answer = self.coloured(str(status), "good" if status < 300 else "bad")  # noqa: PLR2004
        self._happened(
            "webhook", who, f"attempt {attempt}, {signature}, answered {answer}"
        )
        self._note(who, f"attempt {attempt}, {verdict}, {status}")

    def introduce(self, job_id: str, who: str) -> None:
        """Say whose job this is; events of others are not shown."""
        self.say(f"{who:<6}  job {job_id}")
        self._names[job_id] = who
        early, self._early = self._early, []
        for event in early:
            self.event(event)

    def event(self, event: dict[str, Any]) -> None:
        """Tell of an event of the stream.

        It may come before we have read which id our new job got.
        """
        data = event["data"]
        who = self._names.get(data.get("job_id"))
        if who is None:
            self._early.append(event)
            return
        match event["type"]:
            case "JobCreated":
                text = "created"
            case "JobStatusChange":
                text = (
                    f"{data['transition']}: {data['old_status']} → {data['new_status']}"
                )
                self._note(who, data["new_status"])
            case "JobFailed":
                text = f"failed: {data['error']}"
            case "JobCompleted":
                text = f"delivered in {data['duration_ms']} ms"
            case other:
                text = other
        self._happened("event", who, text)

    def _note(self, who: str, what: str) -> None:
        self._facts.add((who, what))
        self._bell.set()

    async def until(self, who: str, what: str) -> None:
        """Wait until *what* has happened to *who*."""
        self.awaited = f"{who}: {what}"
        while (who, what) not in self._facts:
            self._bell.clear()
            await self._bell.wait()


class Receiver:
    """A customer's server: fails so many times, then answers."""

    def __init__(
        self, name: str, *, failures: float, webhook: Webhook, stage: Stage
    ) -> None:
        self.name = name
        #: How many webhooks it will still fail at; it is repaired by setting this to 0.
        self.failures = failures
        self.url = ""
        self._webhook = webhook
        self._stage = stage
        self._attempts = 0

    async def receive(self, request: web.Request) -> web.Response:
        """Check the signature as a stranger would, and answer."""
        body = await request.read()
        self._attempts += 1
        try:
            self._webhook.verify(body, dict(request.headers))
            verdict = "verified"
        except WebhookVerificationError as error:
            verdict = f"WRONG ({error})"
        failing = self.failures > 0
        self.failures -= 1
        status = 503 if failing else 200
        self._stage.arrived(self.name, self._attempts, verdict=verdict, status=status)
        return web.Response(status=status, text="out of order" if failing else "thanks")


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[Receiver]:
    """Let *receiver* listen on a free port until the block ends."""
    app = web.Application()
    app.router.add_post("/", receiver.receive)
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        receiver.url = f"http://127.0.0.1:{port}/"
        yield receiver


async def watch(
    stream: aiohttp.StreamReader, stage: Stage, *, began: asyncio.Event
) -> None:
    """Hand every event of a stream (Server-Sent Events) to *stage*, to its end.

    *began* is set at its first word.
    """
    async for line in stream:
        began.set()
        if line.startswith(b"data:"):
            stage.event(json.loads(line.removeprefix(b"data:")))
    raise DidNotHappen("the event stream ended")
