"""The published client of the compatible API, used as its users use it.

`Official` calls a method by its path (``jobs.create``) on the blocking or on the async
client, so that one test speaks for both.
"""

import asyncio
from contextlib import asynccontextmanager

from spooled import AsyncSpooledClient, SpooledClient
from spooled.config import CircuitBreakerConfig, RetryConfig, SpooledClientConfig


class Official:
    """One client; *blocking* ones run in a thread."""

    def __init__(self, client, *, blocking):
        self.client = client
        self.blocking = blocking

    async def __call__(self, path, *args, **kwargs):
        """Call ``client.<path>(…)`` and return what it returns."""
        method = self.client
        for name in path.split("."):
            method = getattr(method, name)
        if self.blocking:
            return await asyncio.to_thread(method, *args, **kwargs)
        return await method(*args, **kwargs)


@asynccontextmanager
async def open_official(house, *, blocking, **credentials):
    """Open a client that says at once what it was told: no retries of its own."""
    config = SpooledClientConfig(
        base_url=house.base_url,
        timeout=20.0,
        retry=RetryConfig(max_retries=0),
        circuit_breaker=CircuitBreakerConfig(enabled=False),
        **credentials,
    )
    if blocking:
        client = SpooledClient(config=config)
        try:
            yield Official(client, blocking=True)
        finally:
            await asyncio.to_thread(client.close)
    else:
        async with AsyncSpooledClient(config=config) as client:
            yield Official(client, blocking=False)
