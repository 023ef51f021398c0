"""Tracing: a job's way as OpenTelemetry sees it; off, it is free.

A job remembers the request that created it: its W3C context stands with the creation in
the journal, by the same commit, and so in the event that tells of it.  Whoever takes a
hand in the job later says so in a span that is *linked* to that: a retry hours later
begins a trace of its own and extends none.

Nothing is imported, stored or asked for while it is off; on, what costs follows the
sampler, as only what was sampled when it was created is traced from there on.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from libs.common.messages import Delivery, Verdict
    from libs.common.spans import Spans

#: What to enter where nothing is traced.
OFF: Final[AbstractContextManager[None]] = nullcontext()

_spans: "Spans | None" = None


@contextmanager
def open_tracing(service: str, *, on: bool) -> Iterator[None]:
    """Trace until the block ends, if it is *on*.

    Everything is said by ``OTEL_*``, which the SDK reads by itself.  What was not
    sent when the block ends is sent then.
    """
    global _spans  # noqa: PLW0603 - one a process, as the registry of metrics
    if not on:
        yield
        return
    # Dear to import, and needed by nobody else.
    from libs.common.spans import Spans  # noqa: PLC0415

    _spans = Spans(service)
    try:
        yield
    finally:
        _spans.close()
        _spans = None


def is_on() -> bool:
    """Whether anything is traced at all."""
    return _spans is not None


def here() -> str | None:
    """Return the ``traceparent`` of what is under way, None when it is not sampled."""
    return None if _spans is None else _spans.here()


def serving(name: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
    """Let the block be a request that is served, of whatever trace its *headers* say.

    *name* is one of few.
    """
    return OFF if _spans is None else _spans.serving(name, headers)


def sending(destination: str, links: Collection[str]) -> AbstractContextManager[None]:
    """Let the block be a batch that is sent, linked to what created those in it."""
    if _spans is None or not links:
        return OFF
    return _spans.sending(destination, links)


def receiving(destination: str, link: str | None) -> AbstractContextManager[None]:
    """Let the block be one message that is handled, linked to what created it."""
    if _spans is None or link is None:
        return OFF
    return _spans.receiving(destination, link)


def attempting(
    job: "Delivery", *, link: str | None, parent: str | None
) -> AbstractContextManager[None]:
    """Let the block be an attempt, linked to what created its job.

    *parent* is the batch that brought it.
    """
    if _spans is None or link is None:
        return OFF
    return _spans.attempting(job, link=link, parent=parent)


def ended(verdict: "Verdict") -> None:
    """Say how the attempt that is under way went."""
    if _spans is not None:
        _spans.ended(verdict)


# --- with the job ------------------------------------------------------------------


class _Made(msgspec.Struct):
    traceparent: str | None = None


_MADE: Final = msgspec.json.Decoder(_Made)


def telling(traceparent: str | None) -> str | None:
    """Return what is told with a job's creation for it to be found there (JSON)."""
    return None if traceparent is None else f'{{"traceparent":"{traceparent}"}}'


def told_of(details: str | None) -> str | None:
    """Return the ``traceparent`` in what is told with a job's creation (JSON)."""
    return None if details is None else _MADE.decode(details).traceparent
