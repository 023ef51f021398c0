"""``bellhop jobs``: create, read, try again, cancel."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import click

from libs.cli.api.asking import (
    ABSENT,
    STOPPED,
    Json,
    api_command,
    body_of,
    limit_option,
    set_option,
)
from libs.cli.api.client import Api, Refused, at
from libs.cli.api.events import queue_option, show, since_option, tag_option
from libs.cli.api.lines import json_lines
from libs.cli.output import Output
from libs.cli.progress import progress
from libs.cli.settings import Unusable

_BULK: Final = 100
_EVENTS: Final = "job.created,job.status,job.completed,job.failed"
_STATUSES: Final = (
    "pending",
    "scheduled",
    "processing",
    "completed",
    "deadletter",
    "cancelled",
    "expired",
)
SHORT: Final = (
    "id",
    "queue_name",
    "status",
    "attempt",
    "priority",
    "created_at",
    "last_error",
)


@api_command()
@click.argument("queue_name", metavar="QUEUE")
@click.argument("payload", type=Json(), required=False, default=ABSENT)
@click.option("--to", "to_url", metavar="URL", help="Push it to this URL.")
@click.option("--endpoint", help="Push it to this endpoint.")
@click.option("--priority", type=int, help="-100 to 100; higher goes first.")
@click.option("--max-retries", type=int)
@click.option("--at", "scheduled_at", help="Not before this time (RFC 3339).")
@click.option("--idempotency-key", help="Repeated with it, it is still one job.")
@click.option("--tag", "tags", multiple=True, help="May be repeated.")
@set_option
@click.option(
    "--file",
    type=click.File(encoding="utf-8"),
    help="Many: a job a line, as JSON of POST /jobs; - is standard input.",
)
async def create(
    api: Api,
    out: Output,
    *,
    queue_name: str,
    payload: Any,
    file: Iterable[str] | None,
    to_url: str | None,
    endpoint: str | None,
    fields: tuple[tuple[str, Any], ...],
    **named: Any,
) -> int:
    """Create a job in QUEUE with a PAYLOAD (JSON, @file or -), or many from a --file.

    A line of the file is a payload with its own fields: {"payload": …, "priority": 1}.
    Prints the job, or of a file how many were created and what was refused, by line.
    """
    target = {"url": to_url} if to_url else {"endpoint_id": endpoint}
    common = body_of(fields, **named, target=target if to_url or endpoint else None)
    if file is not None:
        if payload is not ABSENT:
            raise Unusable("--file: has the payloads; leave the other one out")
        return await _create_many(
            api, out, queue_name=queue_name, common=common, file=file
        )
    payload = {} if payload is ABSENT else payload
    body = {"queue_name": queue_name, "payload": payload, **common}
    made = await api.ask("POST", "/jobs", body)
    known = "" if made["created"] else "  (its idempotency key was known)"
    out.result(made, f"{made['id']}{known}")
    return 0


async def _create_many(
    api: Api,
    out: Output,
    *,
    queue_name: str,
    common: dict[str, Any],
    file: Iterable[str],
) -> int:
    """Create a job for each line, a hundred at a time; what is refused is told."""
    made = _Made()
    try:
        with progress("Creating", total=None) as done:
            for begin, batch in _batches(file):
                jobs = [{**common, **job} for job in batch]
                body = {"queue_name": queue_name, "jobs": jobs}
                told = await api.ask("POST", "/jobs/bulk", body)
                made.take(told, begin)
                made.next_line = begin + len(batch)
                done(len(batch))
    except STOPPED:
        made.show(out, whole=False)
        raise
    made.show(out, whole=True)
    return 1 if made.failed else 0


@dataclass(slots=True)
class _Made:
    """What became of a file of jobs, up to a line."""

    created: int = 0
    known: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    next_line: int = 1

    def take(self, told: dict[str, Any], begin: int) -> None:
        """Take note of an answer about the lines from *begin* on."""
        for one in told["succeeded"]:
            self.created += one["created"]
            self.known += not one["created"]
        self.failed += [{"line": begin + f.pop("index"), **f} for f in told["failed"]]

    def show(self, out: Output, *, whole: bool) -> None:
        """Print it; of what is not *whole* also where it would go on."""
        for one in self.failed if not out.as_json else ():
            out.say(f"line {one['line']}: {one['error']} ({one['code']})")
        data = {"created": self.created, "known": self.known, "failed": self.failed}
        text = (
            f"{self.created} created, {self.known} known by their keys, "
            f"{len(self.failed)} refused."
        )
        if whole:
            out.result(data, text)
        else:
            rest = f"{text} It stopped at line {self.next_line}."
            out.result({**data, "next_line": self.next_line}, rest)


def _batches(file: Iterable[str]) -> Iterable[tuple[int, list[dict[str, Any]]]]:
    """Return the lines in hundreds, each with the number of its first line.

    Raises `Unusable` for a line that is no job, behind those before it.
    """
    batch: list[dict[str, Any]] = []
    begin = 1
    wrong: Unusable | None = None
    try:
        for number, job in json_lines(file):
            # Empty lines part batches, so that a place in one says which line it was.
            if batch and (len(batch) == _BULK or number != begin + len(batch)):
                yield begin, batch
                batch = []
            if not batch:
                begin = number
            batch.append(job)
    except Unusable as error:
        wrong = error
    if batch:
        yield begin, batch
    if wrong is not None:
        raise wrong


@api_command()
@click.argument("job_id")
async def get(api: Api, out: Output, *, job_id: str) -> None:
    """Show a job with its attempts and its history."""
    job, attempts, history = await asyncio.gather(
        api.ask("GET", at("jobs", job_id)),
        api.ask("GET", at("jobs", job_id, "attempts")),
        api.ask("GET", at("jobs", job_id, "history")),
    )
    if out.as_json:
        out.result({**job, "attempts": attempts, "history": history})
        return
    out.record(job)
    out.say()
    out.rows(
        attempts, ("attempt", "started_at", "outcome", "status_code", "duration_ms")
    )
    out.say()
    out.rows(history, ("created_at", "event_type", "details"))


@api_command()
@queue_option
@click.option("--status", type=click.Choice(_STATUSES))
@tag_option
@click.option("--search", "q", help="Only those in which this text stands.")
@click.option("--after", "created_after", help="Created after this time.")
@click.option("--before", "created_before", help="Created before this time.")
@limit_option
async def list_(api: Api, out: Output, *, limit: int, **asked: Any) -> None:
    """List jobs, the newest first."""
    rows = [row async for row in api.pages("/jobs", limit=limit, params=asked)]
    out.rows(rows, SHORT)


@api_command()
@click.argument("job_id")
async def explain(api: Api, out: Output, *, job_id: str) -> None:
    """Say why a job is where it is, and what it waits for."""
    told = await api.ask("GET", at("jobs", job_id, "explain"))
    out.record(told)


@api_command()
@click.argument("job_ids", nargs=-1, required=True)
async def retry(api: Api, out: Output, *, job_ids: tuple[str, ...]) -> int:
    """Try jobs again that ended as dead letters."""
    return await _each(
        api, out, method="POST", path=("retry",), job_ids=job_ids, done="retried"
    )


@api_command()
@click.argument("job_ids", nargs=-1, required=True)
async def cancel(api: Api, out: Output, *, job_ids: tuple[str, ...]) -> int:
    """Cancel jobs that are not begun."""
    return await _each(
        api, out, method="DELETE", path=(), job_ids=job_ids, done="cancelled"
    )


async def _each(
    api: Api,
    out: Output,
    *,
    method: str,
    path: tuple[str, ...],
    job_ids: tuple[str, ...],
    done: str,
) -> int:
    """Do something to each job; one that is refused does not stop the others."""
    results: list[dict[str, Any]] = []
    try:
        with progress(done.capitalize(), total=len(job_ids)) as advance:
            for job_id in job_ids:
                try:
                    await api.ask(method, at("jobs", job_id, *path))
                except Refused as refused:
                    results.append({"id": job_id, "result": "refused", **refused.told})
                else:
                    results.append({"id": job_id, "result": done})
                advance(1)
    finally:
        out.rows(results, ("id", "result", "message"))
    return 1 if any(one["result"] == "refused" for one in results) else 0


@api_command()
@click.argument("job_id", required=False)
@queue_option
@tag_option
@since_option
async def tail(api: Api, out: Output, *, job_id: str | None, **asked: Any) -> None:
    """Show what happens to jobs, or to one JOB_ID until it is over."""
    if job_id is not None:
        await show(api, out, at("events", "jobs", job_id), asked)
    else:
        await show(api, out, "/events", {**asked, "events": _EVENTS})
