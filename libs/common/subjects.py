"""User text in subjects, and read back; and what outside programs ask for.

The subjects of words are theirs (`libs.common.messages`).
"""

from functools import lru_cache
from typing import Final
from urllib.parse import unquote

#: A job is asked for on ``bellhop.ingest.<org>.<queue>`` (request): the body of ``POST
#: /api/v1/jobs``, and its answer.
INGEST: Final = "bellhop.ingest"
#: A durable consumer of the event stream is asked for on
#: ``bellhop.consumers.<org>.<consumer>`` (request).
CONSUMERS: Final = "bellhop.consumers"


@lru_cache(maxsize=4096)
def token(text: str) -> str:
    """Return user text as one subject token: reversible, nothing NATS gives a meaning.

    Letters, digits, ``-`` and ``_`` stay; every other byte becomes ``%XX``.
    """
    if text.replace("-", "").replace("_", "").isalnum() and text.isascii():
        return text
    return "".join(
        chr(byte)
        if (chr(byte).isalnum() and byte < 128) or byte in b"-_"  # noqa: PLR2004
        else f"%{byte:02X}"
        for byte in text.encode()
    )


def ingest_subject(organization_id: str, queue_name: str) -> str:
    """Return where an organization hands in jobs of a queue."""
    return f"{INGEST}.{organization_id}.{token(queue_name)}"


def read_ingest_subject(subject: str) -> tuple[str, str]:
    """Return organization and queue; the dots of a queue may stand as they are."""
    organization_id, _, rest = subject.removeprefix(f"{INGEST}.").partition(".")
    return organization_id, unquote(rest)


def consumer_subject(organization_id: str, consumer: str) -> str:
    """Return where an organization asks for a consumer."""
    return f"{CONSUMERS}.{organization_id}.{consumer}"


def read_consumer_subject(subject: str) -> tuple[str, str]:
    """Return organization and consumer."""
    organization_id, _, consumer = subject.removeprefix(f"{CONSUMERS}.").partition(".")
    return organization_id, consumer
