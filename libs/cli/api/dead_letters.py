"""``bellhop dlq``: what failed for good."""

from typing import Any, Final

import click

from libs.cli.api.asking import api_command, limit_option, make_sure, yes_option
from libs.cli.api.client import Api
from libs.cli.api.progress import progress
from libs.cli.output import Output
from libs.cli.settings import Unusable

_RETRY: Final = 100
_PURGE: Final = 1000
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
@click.argument("job_ids", nargs=-1)
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

    What has become a dead letter again meanwhile is not tried a second time.
    """
    if sum((bool(job_ids), queue_name is not None, everything)) != 1:
        raise Unusable("name job ids, or --queue, or --all")
    ids = list(job_ids) or await _ids(api, queue_name)
    retried: list[str] = []
    skipped: list[str] = []
    with progress("Retrying", total=len(ids)) as done:
        for begin in range(0, len(ids), _RETRY):
            batch = ids[begin : begin + _RETRY]
            body: dict[str, Any] = {"job_ids": batch, "queue_name": queue_name}
            if queue_name is None:
                del body["queue_name"]
            told = await api.ask("POST", "/jobs/dlq/retry", body)
            retried += told["retried_jobs"]
            skipped += told["skipped_jobs"]
            done(len(batch))
    out.result(
        {"retried": len(retried), "skipped": skipped},
        f"{len(retried)} tried again, {len(skipped)} passed over.",
    )
    return 1 if job_ids and skipped else 0


async def _ids(api: Api, queue_name: str | None) -> list[str]:
    """Return who is dead now; what dies again later is not among them."""
    params = {"queue_name": queue_name}
    letters = api.pages("/jobs/dlq", limit=2**31, params=params)
    return [letter["id"] async for letter in letters]


@api_command()
@_queue
@_all
@click.option("--older-than", metavar="TIME", help="Only what died before this time.")
@yes_option
async def purge(
    api: Api,
    out: Output,
    *,
    queue_name: str | None,
    older_than: str | None,
    everything: bool,
    yes: bool,
) -> None:
    """Delete dead letters of a --queue, or --all, with payloads and attempts."""
    if (queue_name is None) != everything:
        raise Unusable("name a --queue, or --all")
    make_sure(f"Delete the dead letters of {queue_name or 'all queues'}?", yes=yes)
    body: dict[str, Any] = {"confirm": True, "limit": _PURGE}
    body |= {"queue_name": queue_name} if queue_name else {}
    body |= {"older_than": older_than} if older_than else {}
    purged = 0
    with progress("Purging", total=None) as done:
        while True:
            told = await api.ask("POST", "/jobs/dlq/purge", body)
            purged += told["purged_count"]
            done(told["purged_count"])
            if told["purged_count"] < _PURGE:
                break
    out.result({"purged": purged}, f"{purged} deleted.")
