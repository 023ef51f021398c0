"""``bellhop dlq``: what failed for good."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from libs.cli.api.asking import (
    STOPPED,
    api_command,
    body_of,
    limit_option,
    make_sure,
    yes_option,
)
from libs.cli.api.client import Api
from libs.cli.output import Output
from libs.cli.progress import progress
from libs.cli.settings import Unusable

#: How many are named at once, and how many are deleted at once.
_NAMED: Final = 100
_PURGE: Final = 1000
_ids = click.argument("job_ids", nargs=-1)
_queue = click.option("--queue", "queue_name", help="Only of this queue.")
_all = click.option("--all", "everything", is_flag=True, help="Of all queues.")


@api_command()
@_queue
@click.option("--tag", help="Only with this tag.")
@limit_option
async def list_(api: Api, out: Output, *, limit: int, **asked: Any) -> None:
    """List dead letters, the newest first."""
    rows = [row async for row in api.pages("/jobs/dlq", limit=limit, params=asked)]
    shown = ("id", "queue_name", "dead_reason", "attempt", "completed_at", "last_error")
    out.rows(rows, shown)


@api_command()
@_ids
@_queue
@_all
async def retry(
    api: Api,
    out: Output,
    *,
    job_ids: tuple[str, ...],
    queue_name: str | None,
    everything: bool,
) -> int:
    """Try dead letters again: those named, all of a --queue, or --all.

    With ids a --queue says where they must be, as a key limited to queues has to. What
    has become a dead letter again meanwhile is not tried a second time.
    """
    _require_aim(job_ids, queue_name, everything=everything)
    ids = list(job_ids) or await _list_ids(api, queue_name)
    retried, left = 0, len(ids)
    skipped: list[str] = []
    try:
        with progress("Retrying", total=len(ids)) as done:
            for batch in _batches(ids):
                body = body_of((), job_ids=batch, queue_name=queue_name)
                told = await api.ask("POST", "/jobs/dlq/retry", body)
                retried += told["retried_count"]
                skipped += told["skipped_jobs"]
                left -= len(batch)
                done(len(batch))
    except STOPPED:
        out.result(
            {"retried": retried, "skipped": skipped, "left": left},
            f"{retried} tried again, {len(skipped)} passed over; {left} are left.",
        )
        raise
    out.result(
        {"retried": retried, "skipped": skipped},
        f"{retried} tried again, {len(skipped)} passed over.",
    )
    return 1 if job_ids and skipped else 0


def _require_aim(
    job_ids: tuple[str, ...], queue_name: str | None, *, everything: bool
) -> None:
    """Raise `Unusable` unless it is said which are meant."""
    if everything == (bool(job_ids) or queue_name is not None):
        raise Unusable("name job ids, or a --queue, or --all")


def _batches(ids: list[str]) -> Iterator[list[str]]:
    """Return the ids in hundreds."""
    for begin in range(0, len(ids), _NAMED):
        yield ids[begin : begin + _NAMED]


async def _list_ids(api: Api, queue_name: str | None) -> list[str]:
    """Return who is dead now; what dies again later is not among them."""
    params = {"queue_name": queue_name}
    ids = []
    with progress("Listing", total=None) as done:
        async for letter in api.pages("/jobs/dlq", limit=2**31, params=params):
            ids.append(letter["id"])
            done(1)
    return ids


@api_command()
@_ids
@_queue
@_all
@click.option(
    "--older-than", metavar="TIME", help="Only what died before this time; else now."
)
@yes_option
async def purge(
    api: Api,
    out: Output,
    *,
    job_ids: tuple[str, ...],
    queue_name: str | None,
    older_than: str | None,
    everything: bool,
    yes: bool,
) -> int:
    """Delete dead letters with their payloads: those named, of a --queue, or --all.

    What dies after the question was answered stays.
    """
    _require_aim(job_ids, queue_name, everything=everything)
    if job_ids and older_than is not None:
        raise Unusable("--older-than: says nothing of ids")
    where = "all queues" if queue_name is None else queue_name
    which = f"{len(job_ids)} dead letters" if job_ids else f"dead letters of {where}"
    make_sure(f"Delete the {which}?", yes=yes)
    aim = {"confirm": True, **body_of((), queue_name=queue_name)}
    if job_ids:
        counts = _purge_named(api, list(job_ids), aim)
    else:
        moment = older_than or datetime.now(UTC).isoformat()
        counts = _purge_older(api, {**aim, "older_than": moment, "limit": _PURGE})
    purged = 0
    try:
        with progress("Purging", total=len(job_ids) or None) as done:
            async for count in counts:
                purged += count
                done(count)
    except STOPPED:
        out.result({"purged": purged}, f"{purged} deleted until then.")
        raise
    out.result({"purged": purged}, f"{purged} deleted.")
    return 1 if purged < len(set(job_ids)) else 0


async def _purge_named(
    api: Api, ids: list[str], aim: dict[str, Any]
) -> AsyncIterator[int]:
    for batch in _batches(ids):
        told = await api.ask("POST", "/jobs/dlq/purge", {**aim, "job_ids": batch})
        yield told["purged_count"]


async def _purge_older(api: Api, body: dict[str, Any]) -> AsyncIterator[int]:
    """Purge until there is nothing: fewer than asked for may be others' doing."""
    while True:
        told = await api.ask("POST", "/jobs/dlq/purge", body)
        if not told["purged_count"]:
            return
        yield told["purged_count"]
