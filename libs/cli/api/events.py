"""``bellhop events``, and how events are shown: what happens, as it happens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import click

from libs.cli.api.asking import api_command
from libs.cli.api.client import Api
from libs.cli.api.stream import Frame, follow
from libs.cli.output import Output, cell

#: Fields that stand in front of a line, or say nothing to a person.
_IN_FRONT: Final = ("timestamp", "queue_name", "job_id")

queue_option = click.option("--queue", help="Only of this queue.")
tag_option = click.option("--tag", help="Only of jobs with this tag.")
since_option = click.option(
    "--since", help="Begin with what happened since: an id of an event, or a time."
)


@api_command()
@click.option("--events", help="Only these, by name or type, separated by commas.")
@queue_option
@tag_option
@since_option
async def tail(api: Api, out: Output, **asked: Any) -> None:
    """Show what happens to jobs, queues, workers, …, as it happens, until Ctrl-C.

    After a break it goes on where it stopped. With --json each line is one event, with
    the id that --since takes.
    """
    await show(api, out, "/events", asked)


async def show(api: Api, out: Output, path: str, asked: Mapping[str, Any]) -> None:
    """Print every event of a stream, to its end."""

    def say(text: str) -> None:
        click.echo(f"bellhop: {text}", err=True)

    async for frame in follow(api, path, params=asked, say=say):
        whole = {"id": frame.id, "type": frame.type, "data": frame.data}
        out.result(whole, line(frame))


def line(frame: Frame) -> str:
    """Return an event as a line for people."""
    data = frame.data
    moment = _clock(str(data.get("timestamp", "")))
    job = str(data.get("job_id") or "")
    queue = str(data.get("queue_name") or "")
    rest = [
        f"{name}={cell(value)}"
        for name, value in data.items()
        if name not in _IN_FRONT and value is not None
    ]
    words = [moment, f"{frame.type:<16}", queue, job, *rest]
    return cell("  ".join(word for word in words if word))


def _clock(timestamp: str) -> str:
    """Return the time of day here, or what was said when it is no time."""
    try:
        moment = datetime.fromisoformat(timestamp).astimezone()
    except ValueError:
        return timestamp
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
