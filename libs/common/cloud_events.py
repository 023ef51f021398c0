"""Events as CloudEvents 1.0: their attributes in headers, in binary mode (pure).

The body is the event's own JSON, and is the CloudEvent's data.
"""

import string
from typing import Final
from urllib.parse import quote

from libs.common.messages import Event, JobChanged
from libs.common.streams import Message

_JSON: Final = "application/json"
#: Printable ASCII, but space, quote and percent: the others are escaped.
_PLAIN: Final = "".join(set(string.punctuation) - set('"%'))


def message(word: Event) -> Message:
    """Return an event as it is put into the stream."""
    # Nobody but the customer gives a worker its id.
    about = (
        word.job_id
        if isinstance(word, JobChanged)
        else quote(word.resource_id, safe=_PLAIN)
    )
    headers = {
        "Nats-Msg-Id": word.id,
        "Content-Type": _JSON,
        "ce-specversion": "1.0",
        "ce-id": word.id,
        # With the id unique among all houses there are.
        "ce-source": f"/bellhop/organizations/{word.organization_id}",
        "ce-type": word.type,
        "ce-time": word.time,
        "ce-subject": about,
        "ce-datacontenttype": _JSON,
    }
    return Message(word.subject_of_this(), headers, word.encode())
