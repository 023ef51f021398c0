"""Events as CloudEvents 1.0: their attributes in headers, in binary mode (pure).

The body is the event's own JSON, and is the CloudEvent's data.
"""

import string
from typing import Final
from urllib.parse import quote

from libs.common.messages import Event, JobChanged
from libs.common.streams import Message

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
    # With its id the source is unique among all houses there are.
    head = (
        "Content-Type: application/json\r\n"
        "ce-specversion: 1.0\r\n"
        f"ce-id: {word.id}\r\n"
        f"ce-source: /bellhop/organizations/{word.organization_id}\r\n"
        f"ce-type: {word.type}\r\n"
        f"ce-time: {word.time}\r\n"
        f"ce-subject: {about}\r\n"
        "ce-datacontenttype: application/json\r\n"
    )
    return Message(word.subject_of_this(), word.id, head, word.encode())
