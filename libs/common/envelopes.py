"""What an endpoint gets of a message: its body, and headers that go with it (pure).

``payload``
    The payload itself, byte for byte as the producer sent it.
``envelope``
    ``{"type": …, "timestamp": …, "data": …}`` as Standard Webhooks recommends, with the
    payload's bytes, untouched, as the data.
``cloudevents``
    The payload, with what CloudEvents 1.0 says of an event in ``ce-*`` headers (HTTP
    binding, binary mode).

The same message makes the same body whenever it is asked for: a signature that was
good stays good, and who replays a message next month sends what was sent today.
That is why no envelope is stored: whoever reads a job's body has Postgres spell it (the
function `envelope` of the schema, to the byte the same as here).
"""

import re
from typing import Final, Literal
from uuid import UUID

from libs.common.ids import born_at

Format = Literal["payload", "envelope", "cloudevents"]

#: CloudEvents HTTP binding 1.0, section 3.1.3.2: what has to be written as ``%XX``.
_ENCODED: Final = re.compile(r'[^\x21-\x7e]|["%]')


def body_of(style: str, *, message_id: UUID, event_type: str, payload: str) -> str:
    """Return the body that an endpoint of *style* (a `Format`) gets of a message."""
    if style == "envelope":
        # A type is a name (`event_types`): nothing in it has to be escaped.
        return (
            f'{{"type":"{event_type}","timestamp":"{_moment(message_id)}",'
            f'"data":{payload}}}'
        )
    return payload


def headers_of(
    style: str,
    *,
    message_id: UUID,
    organization_id: UUID,
    event_type: str,
    ordering_key: str | None,
) -> dict[str, str]:
    """Return the headers that go with the body."""
    if style != "cloudevents":
        return {}
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(message_id),
        "ce-source": f"/organizations/{organization_id}",
        "ce-type": event_type,
        "ce-time": _moment(message_id),
    }
    if ordering_key is not None:
        headers["ce-partitionkey"] = _encoded(ordering_key)
    return headers


def _moment(message_id: UUID) -> str:
    """Return when a message came, as RFC 3339 has it: its id knows."""
    moment = born_at(message_id).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _encoded(text: str) -> str:
    return _ENCODED.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text
    )
