"""Whether anybody answers where a stack is told to find its Postgres and its NATS."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from libs.cli.settings import StackSettings, Unusable

_CONNECT_SECONDS: Final = 3.0


async def check_given(settings: StackSettings) -> None:
    """Knock at the servers that were given; raises `Unusable` when one is silent."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        await _knock("DATABASE_URL", url, usual_port=5432)
    if settings.nats_url is not None:
        await _knock("NATS_URL", settings.nats_url, usual_port=4222)


async def _knock(variable: str, url: str, *, usual_port: int) -> None:
    """Connect and leave.  What names no single host and port is left to the driver."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or usual_port
    except ValueError:
        return
    if host is None or "," in url:
        return
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise Unusable(f"{variable}: nothing answers at {host}:{port}") from error
    writer.close()
