"""``bellhop demo``: deliveries, retries and a dead letter, on the running stack.

A play in four scenes.  What has a time before it is printed when it happens; the demo
fails when something it promises does not happen in time.
"""

import argparse
import asyncio
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from standardwebhooks import Webhook

from libs.cli.demo_stage import DidNotHappen, Receiver, Stage, listening, watch
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import StackFile, read_stack
from libs.common.errors import BellhopError

_SECONDS_MAX: Final = 15.0
_QUEUE: Final = "demo"
#: Half a second between attempts; what production waits is not for an audience.
_RETRY: Final = {"strategy": "schedule", "schedule_seconds": [0.5], "jitter": 0}
_INTERRUPTED: Final = 130


class Api:
    """The stack's API, as the key's owner sees it."""

    def __init__(self, stack: StackFile, http: aiohttp.ClientSession) -> None:
        self._url: Final = f"{stack.base_url}/api/v1"
        self._http: Final = http

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer; raises `DidNotHappen` when it is a refusal."""
        async with self._http.request(
            method, f"{self._url}{path}", json=body or None
        ) as answer:
            if not answer.ok:
                raise DidNotHappen(
                    f"{method} {path} was answered {answer.status}: "
                    f"{await answer.text()}"
                )
            return await answer.json()

    async def create(self, receiver: Receiver, *, max_retries: int) -> str:
        """Create a webhook for *receiver*; return its id."""
        job = await self.ask(
            "POST",
            "/jobs",
            queue_name=_QUEUE,
            payload={"hello": receiver.name},
            target={"url": receiver.url},
            retry=_RETRY,
            max_retries=max_retries,
        )
        return str(job["id"])

    @asynccontextmanager
    async def events(self) -> AsyncIterator[aiohttp.StreamReader]:
        """Open the event stream of the demo's queue."""
        async with self._http.get(
            f"{self._url}/events",
            params={"queue": _QUEUE},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if not answer.ok:
                raise DidNotHappen(f"no event stream: {await answer.text()}")
            yield answer.content


def demo(_: argparse.Namespace) -> int:
    """Play the demo; return 0, or 1 when something did not happen."""
    stack = read_stack(StackSettings.from_env().data_dir)
    if stack.api_key is None:
        raise Unusable(
            "the stack uses a database that was not set up here, so its key is unknown"
        )
    try:
        asyncio.run(_play(stack, stack.api_key))
    except DidNotHappen as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except aiohttp.ClientConnectionError as error:
        print(
            f"\nThe demo failed: {stack.base_url} does not answer as it should "
            f"({error}). `make status` says what runs.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


async def _play(stack: StackFile, api_key: str) -> None:
    """Play everything within `_SECONDS_MAX`; raises `DidNotHappen`."""
    stage = Stage()
    stage.say(f"Bellhop at {stack.base_url}")
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {api_key}"}
    ) as http:
        api = Api(stack, http)
        try:
            async with asyncio.timeout(_SECONDS_MAX), asyncio.TaskGroup() as tasks:
                began = asyncio.Event()
                watching = tasks.create_task(_watch(api, stage, began))
                await began.wait()
                await _tell(api, stage)
                watching.cancel()
        except TimeoutError:
            raise DidNotHappen(
                f"not within {_SECONDS_MAX:.0f} s: {stage.awaited}"
            ) from None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None


async def _watch(api: Api, stage: Stage, began: asyncio.Event) -> None:
    async with api.events() as stream:
        await watch(stream, stage, began=began)


async def _tell(api: Api, stage: Stage) -> None:
    """Tell the story from the receivers to the happy end."""
    secret = (await api.ask("GET", "/organizations/signing-secret"))["signing_secret"]
    webhook = Webhook(secret)
    async with (
        listening(Receiver("moody", failures=2, webhook=webhook, stage=stage)) as moody,
        listening(
            Receiver("broken", failures=math.inf, webhook=webhook, stage=stage)
        ) as broken,
    ):
        stage.title("1. Two receivers listen on this machine")
        stage.say(f"moody   {moody.url}  fails twice, then answers")
        stage.say(f"broken  {broken.url}  always fails")

        stage.title("2. Each gets a webhook, tried again after half a second")
        jobs = {}
        for receiver, max_retries in ((moody, 3), (broken, 2)):
            jobs[receiver.name] = await api.create(receiver, max_retries=max_retries)
            stage.introduce(jobs[receiver.name], receiver.name)
        await stage.until("moody", "attempt 3, verified, 200")
        await stage.until("moody", "completed")
        await stage.until("broken", "attempt 3, verified, 503")
        await stage.until("broken", "deadletter")

        stage.title("3. The dead letter keeps every attempt")
        await _show_letter(api, stage, jobs["broken"])

        stage.title("4. The receiver is repaired, and the dead letter tried again")
        broken.failures = 0
        await api.ask("POST", f"/jobs/{jobs['broken']}/retry")
        await stage.until("broken", "attempt 4, verified, 200")
        await stage.until("broken", "completed")

        stage.title("Both webhooks are delivered.")
        for name, job_id in jobs.items():
            await _show_end(api, stage, name, job_id)


async def _show_letter(api: Api, stage: Stage, job_id: str) -> None:
    letters = await api.ask("GET", f"/jobs/dlq?queue={_QUEUE}")
    letter = next((one for one in letters if one["id"] == job_id), None)
    if letter is None:
        raise DidNotHappen(f"job {job_id} is not among the dead letters")
    stage.say(f"broken is dead: {letter['dead_reason']}, {letter['last_error']}")
    for one in await api.ask("GET", f"/jobs/{job_id}/attempts"):
        stage.say(
            f"attempt {one['attempt']}  {one['started_at']}  {one['outcome']}  "
            f"{one['status_code']} {one['response_body']!r}  {one['duration_ms']} ms"
        )


async def _show_end(api: Api, stage: Stage, name: str, job_id: str) -> None:
    job = await api.ask("GET", f"/jobs/{job_id}")
    if job["status"] != "completed":
        raise DidNotHappen(f"{name} is not completed but {job['status']}")
    stage.say(f"{name:<6}  {job['status']} after {job['attempt']} attempts")


def main() -> int:
    """Play the demo, as ``bellhop demo`` does; return the exit code."""
    try:
        return demo(argparse.Namespace())
    except BellhopError as error:
        print(f"bellhop: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
