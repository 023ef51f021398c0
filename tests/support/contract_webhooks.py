"""What a receiver of the contract's webhooks does with what it gets (5.7)."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from tests.support.endpoint import Received

TOLERANCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Told:
    """One delivery, believed."""

    id: str
    event: str
    data: dict[str, Any]
    attempt: int
    raw: Received


def verified(request: Received, secret: str | None) -> Told:
    """Check a delivery as the clients' verifiers do, and return what it tells."""
    headers = request.headers
    assert request.method == "POST"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "Spooled-OutgoingWebhook/1.0"
    timestamp = headers["X-Spooled-Timestamp"]
    assert abs(time.time() - int(timestamp)) < TOLERANCE_SECONDS
    if secret is None:
        assert "X-Spooled-Signature" not in headers
    else:
        signed = timestamp.encode() + b"." + request.body
        code = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(headers["X-Spooled-Signature"], f"sha256={code}")
    body = json.loads(request.body)
    event = headers["X-Spooled-Event"]
    assert body.get("event", event) == event
    return Told(
        id=body.get("id", ""),
        event=event,
        data=body.get("data", body),
        attempt=int(headers["X-Spooled-Delivery-Attempt"]),
        raw=request,
    )
