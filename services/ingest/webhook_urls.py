"""URLs of webhooks that clients configure: checked, with the contract's words (5.8)."""

from typing import Final

from libs.common.addresses import Target, checked_url
from libs.common.errors import Fault, Malformed

_PLAIN: Final = "must be an https URL"


def webhook_url(text: str, *, development: bool, field: str) -> Target:
    """Return where *text* leads; raises `Malformed` that names *field*."""
    try:
        return checked_url(text, development=development, field=field)
    except Malformed as error:
        words = error.faults[0].message
        if words == _PLAIN:
            words = "HTTP not allowed in production"
        raise Malformed(Fault(field, f"Invalid webhook URL: {words}")) from None
