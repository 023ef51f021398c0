"""``bellhop demo``: deliveries, retries and a dead letter, on the running stack.

A play in four scenes.  What has a time before it is printed when it happens; the demo
fails when something it promises does not happen in time.
"""

import asyncio
import math
import sys
from typing import Final

import click
from standardwebhooks import Webhook

from libs.cli.api.access import Access
from libs.cli.api.client import Api, Refused, Unreachable, open_api
from libs.cli.commands import Command
from libs.cli.demo_stage import DidNotHappen, Receiver, Stage, listening, watch
from libs.cli.output import Output
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import StackFile, read_stack

_SECONDS_MAX: Final = 15.0
_QUEUE: Final = "demo"
#: Half a second between attempts; what production waits is not for an audience.
_RETRY: Final = {"strategy": "schedule", "schedule_seconds": [0.5], "jitter": 0}


@click.command(cls=Command)
@click.pass_obj
def demo(out: Output) -> int:
    """Show deliveries, retries and a dead letter on the running stack.

    Ends with 1 when something that it promises did not happen in time.
    """
    stack = read_stack(StackSettings.from_env().data_dir)
    if stack.api_key is None:
        raise Unusable(
            "the stack uses a database that was not set up here, so its key is unknown"
        )
    try:
        jobs = asyncio.run(_play(stack, stack.api_key, Stage(out)))
    except (DidNotHappen, Refused) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except Unreachable as error:
        print(
            f"\nThe demo failed: {error}. `make status` says what runs.",
            file=sys.stderr,
        )
        return 1
    out.result({"delivered": jobs})
    return 0


async def _play(stack: StackFile, api_key: str, stage: Stage) -> dict[str, str]:
    """Play everything within `_SECONDS_MAX`; return the jobs by their receivers.

    Raises `DidNotHappen`.
    """
    stage.say(f"Bellhop at {stack.base_url}")
    async with open_api(Access(stack.base_url, api_key)) as api:
        try:
            async with asyncio.timeout(_SECONDS_MAX), asyncio.TaskGroup() as tasks:
                began = asyncio.Event()
                watching = tasks.create_task(_watch(api, stage, began))
                await began.wait()
                jobs = await _tell(api, stage)
                watching.cancel()
        except TimeoutError:
            raise DidNotHappen(
                f"not within {_SECONDS_MAX:.0f} s: {stage.awaited}"
            ) from None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
    return jobs


async def _watch(api: Api, stage: Stage, began: asyncio.Event) -> None:
    queue = {"queue": _QUEUE}
    async with api.open_stream("/events", params=queue, last_id=None) as answer:
        await watch(answer.content, stage, began=began)


async def _create(api: Api, receiver: Receiver, *, max_retries: int) -> str:
    """Create a webhook for *receiver*; return its id."""
    body = {
        "queue_name": _QUEUE,
        "payload": {"hello": receiver.name},
        "target": {"url": receiver.url},
        "retry": _RETRY,
        "max_retries": max_retries,
    }
    job = await api.ask("POST", "/jobs", body)
    return str(job["id"])


async def _tell(api: Api, stage: Stage) -> dict[str, str]:
    """Tell the story from the receivers to the happy end; return who has which job."""
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
            jobs[receiver.name] = await _create(api, receiver, max_retries=max_retries)
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
        return jobs


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
