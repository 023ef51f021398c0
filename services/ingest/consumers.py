"""Durable consumers of the event stream, made for the programs of organizations.

They may not make them themselves: who may, can let the server push events to any
subject, those that services speak among them.  So a program asks, and gets a consumer
that is pulled from, of its organization's events only.  Asking again changes nothing,
so that every program asks when it begins.
"""

from typing import Any, Final

from libs.common import streams
from libs.common.bus import Bus, Question
from libs.common.errors import Forbidden
from libs.common.ids import parse_id
from libs.common.messages import EVENTS, JobChanged
from libs.common.subjects import read_consumer_subject
from services.ingest.requests.checking import checked, parsed
from services.ingest.requests.consumers import WantedConsumer

_NAME_MAX: Final = 128


async def give(bus: Bus, question: Question) -> tuple[int, dict[str, Any]]:
    """Return status and answer once the consumer is there.

    Who may ask for the subject, is for the bus to say.  Raises `Malformed`,
    `Forbidden` and `Unavailable`.
    """
    organization_id, consumer = read_consumer_subject(question.subject)
    if parse_id(organization_id) is None or not _is_theirs(organization_id, consumer):
        raise Forbidden("A consumer is called like its organization, or begins so")
    asked = checked(WantedConsumer, parsed(question.data or b"{}"))
    subject = f"{JobChanged.subject}.{organization_id}.{asked.filter}"
    await streams.give_consumer(bus, EVENTS, consumer, filter_subject=subject)
    return 200, {
        "stream": EVENTS.name,
        "consumer": consumer,
        "filter_subject": subject,
    }


def _is_theirs(organization_id: str, consumer: str) -> bool:
    name = consumer.removeprefix(f"{organization_id}-")
    return consumer == organization_id or (
        name != consumer
        and len(consumer) <= _NAME_MAX
        and name.replace("-", "").replace("_", "").isalnum()
        and name.isascii()
    )
