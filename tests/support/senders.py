"""Those who send webhooks to us, signing as each of them documents it.

Written with the standard library, and for Standard Webhooks with its own package, so
that nothing of ours checks itself.
"""

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

import standardwebhooks

from services.ingest.incoming.proof import Arrived
from services.ingest.incoming.providers import PROVIDERS

SECRET = "it is a secret to everybody"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def code(secret, signed):
    return hmac.new(secret.encode(), signed, hashlib.sha256)


def github(body, *, secret=SECRET, event="push", delivery="guid-1", media=JSON):
    return {
        "Content-Type": media,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={code(secret, body).hexdigest()}",
    }


def stripe(body, *, secrets=(SECRET,), at=None):
    at = int(time.time()) if at is None else at
    signed = f"{at}.".encode() + body
    codes = ",".join(f"v1={code(secret, signed).hexdigest()}" for secret in secrets)
    return {"Content-Type": JSON, "Stripe-Signature": f"t={at},{codes},v0=00ff"}


def shopify(body, *, secret=SECRET, topic="orders/create", id_="id-1"):
    return {
        "Content-Type": JSON,
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": id_,
        "X-Shopify-Shop-Domain": "acme.myshopify.com",
        "X-Shopify-Hmac-Sha256": b64encode(code(secret, body).digest()).decode(),
    }


def slack(body, *, secret=SECRET, at=None, media=JSON):
    at = int(time.time()) if at is None else at
    signed = f"v0:{at}:".encode() + body
    return {
        "Content-Type": media,
        "X-Slack-Request-Timestamp": str(at),
        "X-Slack-Signature": f"v0={code(secret, signed).hexdigest()}",
    }


def standard(body, *, secret=STANDARD_SECRET, id_="msg_1", at=None, prefix="webhook"):
    at = int(time.time()) if at is None else at
    moment = datetime.fromtimestamp(at, UTC)
    signature = standardwebhooks.Webhook(secret).sign(id_, moment, body.decode())
    return {
        "Content-Type": JSON,
        f"{prefix}-id": id_,
        f"{prefix}-timestamp": str(at),
        f"{prefix}-signature": signature,
    }


def spelled(data):
    """Return JSON as somebody else might spell it."""
    return json.dumps(data, indent=1).encode()


def form(**fields):
    return urlencode(fields).encode()


#: An example of each: (headers of a body, secret, body, event, id, queue, job type).
PUSH = spelled({"ref": "refs/heads/main", "n": 1.50})
PAID = spelled({"id": "evt_1", "type": "invoice.paid", "data": {}})
ORDER = spelled({"id": 820982911946154508, "email": "jon@example.com"})
MENTION = spelled(
    {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}
)
MESSAGE = spelled({"type": "user.created", "data": {"id": 1}})
EXAMPLES: dict[
    str, tuple[Callable[..., dict[str, str]], str, bytes, str, str, str, str]
] = {
    "github": (github, SECRET, PUSH, "push", "guid-1", "github-push", "github.push"),
    "stripe": (
        stripe,
        SECRET,
        PAID,
        "invoice.paid",
        "evt_1",
        "stripe-invoice.paid",
        "stripe.invoice.paid",
    ),
    "shopify": (
        shopify,
        SECRET,
        ORDER,
        "orders/create",
        "id-1",
        "shopify-orders-create",
        "shopify.orders.create",
    ),
    "slack": (
        slack,
        SECRET,
        MENTION,
        "app_mention",
        "Ev1",
        "slack-app_mention",
        "slack.app_mention",
    ),
    "standard": (
        standard,
        STANDARD_SECRET,
        MESSAGE,
        "user.created",
        "msg_1",
        "standard-user.created",
        "standard.user.created",
    ),
}


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


class Headers(dict[str, str]):
    """Headers that are found however they are spelled."""

    def __init__(self, headers):
        super().__init__(lower(headers))

    def get(self, name, default=None):
        return super().get(name.lower(), default)

    def __contains__(self, name):
        return super().__contains__(name.lower())


def signed(provider, **how):
    """Return what a provider sends: (headers, body)."""
    sign, _, body, *_ = EXAMPLES[provider]
    return Headers(sign(body, **how)), body


def arrived_by(provider, headers, body) -> Arrived:
    """Return what came, which is no question."""
    arrived = PROVIDERS[provider].read(headers, body)
    assert isinstance(arrived, Arrived)
    return arrived


async def configure(api, provider, **fields):
    """Let an organization take webhooks of a provider; return the source."""
    path = f"/incoming-webhooks/{provider}"
    return await api.ask("PUT", path, json=fields, expect=200)


async def deliver(api, provider, headers, body, *, org=None):
    """Send to a provider's place, without a key; return (status, JSON or None)."""
    async with api.session.post(
        f"{api.base_url}/api/v1/webhooks/{org or api.tenant.id}/{provider}",
        data=body,
        headers=headers,
    ) as answer:
        text = await answer.read()
        return answer.status, json.loads(text) if text else None
