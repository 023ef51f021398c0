"""``bellhop listen``: receive webhooks on a machine that has no address.

An endpoint at a name that leads nowhere is made for as long as we listen; its attempts
come down a WebSocket, are made here, and what was answered goes back as their result.
"""

import asyncio
import base64
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import click

from libs.cli.api.asking import api_command
from libs.cli.api.client import Api, Refused, Unreachable, at
from libs.cli.output import Output
from libs.cli.settings import Unusable
from libs.common.listening import URL, Answered

_PAUSE_SECONDS_MAX: Final = 5.0
#: Headers that belong to the connection, which is another one here.
_HOP: Final = frozenset(["host", "content-length", "connection", "transfer-encoding"])


@api_command()
@click.option("--forward", required=True, metavar="URL", help="Where they go here.")
@click.option(
    "--event",
    "event_types",
    multiple=True,
    help="Only of this type, as invoice.*; may be repeated. All unless said.",
)
@click.option(
    "--endpoint", help=f"An endpoint with the url {URL}; else one is made meanwhile."
)
async def listen(
    api: Api,
    out: Output,
    *,
    forward: str,
    event_types: tuple[str, ...],
    endpoint: str | None,
) -> None:
    """Receive the organization's webhooks here, and answer them, until Ctrl-C.

    Each is signed, tried again and recorded as any other: what the receiver at
    --forward answers is the attempt's result. Without --endpoint one is made that gets
    every message (or those of --event), and deleted in the end; its secret is printed.
    """
    if urlsplit(forward).scheme not in {"http", "https"}:
        raise Unusable("--forward: must begin with http:// or https://")
    async with _endpoint(api, out, endpoint, event_types) as endpoint_id:
        failures = 0
        while True:
            try:
                async with api.open_socket(
                    at("endpoints", endpoint_id, "listen")
                ) as ws:
                    failures = 0
                    out.say(f"Listening for {endpoint_id}, until Ctrl-C.")
                    await _serve(ws, out, forward)
                if ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION:
                    raise Unusable("the key opens this no more")
                out.say("The connection ended; connecting again.")
            except Unreachable as error:
                out.say(f"{error}; trying again")
            failures += 1
            longest = min(_PAUSE_SECONDS_MAX, 0.2 * 2 ** min(failures, 8))
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - full jitter


@asynccontextmanager
async def _endpoint(
    api: Api, out: Output, given: str | None, event_types: tuple[str, ...]
) -> AsyncIterator[str]:
    """Give the endpoint to listen for; one that is made here is deleted again."""
    if given is not None:
        yield given
        return
    body = {
        "url": URL,
        "description": f"bellhop listen on {socket.gethostname()}"[:200],
        "event_types": list(event_types) or ["*"],
    }
    made = await api.ask("POST", "/endpoints", body)
    out.say(f"Secret: {made['secret']}")
    try:
        yield made["id"]
    finally:
        with suppress(Refused, Unreachable):
            await asyncio.shield(api.ask("DELETE", at("endpoints", made["id"])))


async def _serve(
    ws: aiohttp.ClientWebSocketResponse, out: Output, forward: str
) -> None:
    """Make every request that comes down, side by side, until the socket ends."""
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as http,
        asyncio.TaskGroup() as requests,
    ):
        under_way: set[asyncio.Task[None]] = set()
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = json.loads(message.data)
                one = requests.create_task(_answer(ws, http, out, frame, forward))
                under_way.add(one)
                one.add_done_callback(under_way.discard)
        # Nobody hears their answers any more: whoever asked tries again.
        for one in under_way:
            one.cancel()


async def _answer(
    ws: aiohttp.ClientWebSocketResponse,
    http: aiohttp.ClientSession,
    out: Output,
    frame: dict[str, Any],
    forward: str,
) -> None:
    """Make one request here, and say how it was answered."""
    headers = [(k, v) for k, v in frame["headers"] if k.lower() not in _HOP]
    told: dict[str, Any] = {"id": frame["id"]}
    began = asyncio.get_running_loop().time()
    try:
        async with http.request(
            frame["method"],
            forward,
            headers=headers,
            data=base64.b64decode(frame["body"]),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=frame["seconds"]),
        ) as answer:
            body = await _beginning(answer.content)
            told["status"] = answer.status
            told["headers"] = [*answer.headers.items()]
            told["body"] = base64.b64encode(body).decode()
    except TimeoutError:
        told["error"] = f"timeout after {frame['seconds']:g} s"
    except (aiohttp.ClientError, ValueError) as error:
        told["error"] = f"{forward} did not answer: {type(error).__name__}"
    took_ms = round((asyncio.get_running_loop().time() - began) * 1000, 1)
    # Who waits for it will try again.
    with suppress(ConnectionError):
        await ws.send_str(json.dumps(told))
    _show(out, frame, told, took_ms)


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Return of a body as much as an attempt keeps, however it comes in."""
    try:
        return await content.readexactly(Answered.BODY_BYTES_MAX)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def _show(
    out: Output, frame: dict[str, Any], told: dict[str, Any], took_ms: float
) -> None:
    names = {name.lower(): value for name, value in frame["headers"]}
    said = told.get("status") or told["error"]
    now = datetime.now().astimezone()
    out.result(
        {
            "time": now.isoformat(),
            "method": frame["method"],
            "webhook_id": names.get("webhook-id"),
            "status": told.get("status"),
            "error": told.get("error"),
            "duration_ms": took_ms,
        },
        f"{now:%H:%M:%S}  {frame['method']}  {names.get('webhook-id', '')}  "
        f"→ {said}  {took_ms:g} ms",
    )
