"""``/webhooks/{org_id}/…``: where others send to (contract 1.11, 5.9).

Nobody shows a key here: a webhook is believed for its signature, or for the
organization's token.  Nothing of a body is read before that, and nothing of it, and of
no secret, is ever logged.  Whoever sends to a provider that is not configured, or to an
organization that is not, is told what is told to who signs wrongly, after the same
work; only beside a token an organization that is not is said to be not found.
"""

import hmac
import secrets
import time
from base64 import b64encode
from collections import Counter as Tally
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict
from prometheus_client import Counter

from libs.common.errors import (
    Fault,
    Forbidden,
    LoopDetected,
    Malformed,
    NotFound,
    RateLimited,
)
from libs.common.headers import HOPS
from libs.common.store.incoming import Delivery
from services.ingest.answers import incoming as shapes
from services.ingest.http.errors import answer
from services.ingest.http.rates import ALLOWANCE, note_refusal
from services.ingest.http.reading import (
    ALLOWANCES,
    RECEPTION,
    SETTINGS,
    SOURCES,
    id_in_path,
    read_bytes,
    read_json,
    stranger,
    understood,
)
from services.ingest.http.routing import Handler, Route
from services.ingest.incoming.proof import Arrived, Greeting, Headers, Unproven, octets
from services.ingest.incoming.providers import (
    CUSTOM,
    PROVIDERS,
    ProviderName,
    key_of,
    queue_of,
    type_of,
)
from services.ingest.incoming.reception import Webhook
from services.ingest.incoming.sources import Recipient, Source
from services.ingest.requests.checking import as_sent
from services.ingest.requests.incoming import CustomWebhook
from services.ingest.wanted import job_type_in

RECEIVED: Final = Counter(
    "bellhop_incoming_webhooks_total",
    "Webhooks that came in, by what became of them.",
    ["provider", "outcome"],
)

_TOKEN: Final = "X-Webhook-Token"  # noqa: S105 - a header's name
_PROTOCOL: Final = "X-Forwarded-Proto"
_THROUGH: Final = {
    _PROTOCOL: "In production it must be `https`, said by your proxy.",
    HOPS: "How often it came to a Bellhop before, said by that; 5 times are a loop.",
}
#: What came so often before is not taken again: it is on its way round.
_HOPS_MAX: Final = 5
_DIGITS_MAX: Final = 9
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
#: What is compared where there is nothing to compare: it is nobody's, and unknown.
_NOBODYS_TOKEN: Final = secrets.token_urlsafe(24)
_NOBODYS_SECRET: Final = f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"


class _Raw(msgspec.Struct):
    """The sender's bytes of a payload, untouched by reading them."""

    payload: msgspec.Raw


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path="/api/v1/webhooks/{org_id}/custom",
            handler=custom,
            body=CustomWebhook,
            headers={_TOKEN: "The organization's webhook token.", **_THROUGH},
            answers={200: shapes.CustomTaken},
            refusals=(401, 508),
            access="anybody",
        ),
        _of_provider("github", github),
        _of_provider("stripe", stripe),
        _of_provider("shopify", shopify),
        _of_provider("slack", slack),
        _of_provider("standard", standard),
    ]


def _of_provider(name: ProviderName, handler: Handler) -> Route:
    """Return the route of one provider."""
    provider = PROVIDERS[name]
    taken = shapes.WebhookTaken
    return Route(
        method="POST",
        path=f"/api/v1/webhooks/{{org_id}}/{name}",
        handler=handler,
        takes=(_JSON, _FORM) if provider.FORMS else (_JSON,),
        headers={**provider.HEADERS, **_THROUGH},
        answers={200: taken | shapes.Echo if name == "slack" else taken},
        silent=name == "slack",
        refusals=(401, 403, 508),
        access="anybody",
    )


async def custom(request: web.Request) -> web.Response:
    """Take a webhook of whoever shows the organization's token, as a job.

    Of webhooks with one ``idempotency_key`` the first is a job; the others are answered
    with it.
    """
    recipient = await _recipient(request)
    _require_token(request, recipient)
    if recipient is None:
        raise NotFound("Resource not found")
    await _admit(request, recipient)
    _hops(request, CUSTOM)
    body, data = await read_json(request)
    asked = understood(request, CustomWebhook, data)
    tags = {"provider": CUSTOM}
    if asked.event_type is not None:
        tags["event"] = asked.event_type
    taken = await request.app[RECEPTION].take(
        Webhook(
            recipient=recipient,
            delivery=Delivery(
                provider=CUSTOM,
                event_type=asked.event_type or CUSTOM,
                delivery_id=asked.idempotency_key,
            ),
            payload=bytes(as_sent(body, _Raw).payload),
            queue_name=asked.queue_name,
            kind=job_type_in(asked.payload) or asked.event_type,
            tags=tags,
            idempotency_key=asked.idempotency_key,
            priority=asked.priority or 0,
        )
    )
    RECEIVED.labels(CUSTOM, taken.status).inc()
    return answer(shapes.custom_taken(taken))


async def github(request: web.Request) -> web.Response:
    """Take a webhook of GitHub, once.

    Send JSON or a form; into the queue ``github-<event>`` unless another is configured.
    """
    return await _receive(request, "github")


async def stripe(request: web.Request) -> web.Response:
    """Take an event of Stripe, once.

    Into the queue ``stripe-<type>`` unless another is configured.
    """
    return await _receive(request, "stripe")


async def shopify(request: web.Request) -> web.Response:
    """Take a webhook of Shopify, once.

    Into the queue ``shopify-<topic>``, with dashes for slashes, unless another is
    configured.
    """
    return await _receive(request, "shopify")


async def slack(request: web.Request) -> web.Response:
    """Take an event, a slash command or an interaction of Slack, once.

    Into the queue ``slack-<type>`` unless another is configured; that of a command is
    ``slack-slash_command``.  The question whether we are there is answered; commands
    and interactions become JSON, and are answered with an empty body, because Slack
    shows any other to whoever typed or clicked.
    """
    return await _receive(request, "slack")


async def standard(request: web.Request) -> web.Response:
    """Take a message of whoever signs as Standard Webhooks does, once.

    Into the queue ``standard-<type>``, by the ``type`` in the body, unless another is
    configured.
    """
    return await _receive(request, "standard")


async def _receive(request: web.Request, name: ProviderName) -> web.Response:
    """Take what a provider sends, when it is proven."""
    recipient = await _recipient(request)
    source = None if recipient is None else recipient.sources.get(name)
    headers = _said_once(request)
    body = await read_bytes(request)
    _prove(name, headers, body, source)
    if recipient is None or source is None:
        # Nobody knows what is nobody's: this is for whoever changes the above.
        raise _refused(name, Unproven("forged"))
    if not source.enabled:
        RECEIVED.labels(name, "disabled").inc()
        raise Forbidden("This incoming webhook is disabled")
    await _admit(request, recipient)
    hops = _hops(request, name)
    arrived = PROVIDERS[name].read(headers, body)
    if isinstance(arrived, Greeting):
        RECEIVED.labels(name, "greeted").inc()
        return _echo(arrived)
    taken = await request.app[RECEPTION].take(
        _webhook(recipient, source, name, arrived, hops)
    )
    RECEIVED.labels(name, taken.status).inc()
    return _nothing() if arrived.silent else answer(shapes.webhook_taken(taken))


def _webhook(
    recipient: Recipient,
    source: Source,
    name: ProviderName,
    arrived: Arrived,
    hops: int,
) -> Webhook:
    return Webhook(
        recipient=recipient,
        delivery=Delivery(
            provider=name, event_type=arrived.event, delivery_id=arrived.delivery_id
        ),
        payload=arrived.payload,
        queue_name=(
            None
            if source.as_message
            else source.queue_name or queue_of(name, arrived.event)
        ),
        kind=type_of(name, arrived.event),
        tags={
            "provider": name,
            "event": arrived.event,
            "delivery_id": arrived.delivery_id,
            **arrived.tags,
        },
        idempotency_key=key_of(name, arrived.delivery_id),
        switched=source.switched_at is not None,
        hops=hops,
    )


async def _recipient(request: web.Request) -> Recipient | None:
    """Return to whom it is sent, None when nobody; counts the sender.

    Raises `RateLimited`, `Malformed` for what came unprotected, and `NotFound` for
    what is no id at all.
    """
    stranger(request)
    settings = request.app[SETTINGS]
    if not (settings.development or _came_by_https(request)):
        words = "must be https: webhooks come over TLS"
        raise Malformed(Fault(_PROTOCOL, words, "BAD_REQUEST"))
    return await request.app[SOURCES].find(id_in_path(request, "org_id"))


def _came_by_https(request: web.Request) -> bool:
    """Whether the proxy that the sender spoke to says so: it is the first to write."""
    said = request.headers.get(_PROTOCOL, "")
    return said.partition(",")[0].strip().lower() == "https"


async def _admit(request: web.Request, recipient: Recipient) -> None:
    """Count what was believed for the organization; raises `RateLimited`.

    What is not believed is not counted for it: anybody could use up what it has.
    """
    try:
        left = await request.app[ALLOWANCES].admit(recipient.principal)
    except RateLimited as error:
        note_refusal(request, error)
        raise
    known = request.get(ALLOWANCE)
    if known is None or left.remaining < known.remaining:
        request[ALLOWANCE] = left


def _hops(request: web.Request, name: str) -> int:
    """Return how often it came to us before; raises `LoopDetected`.

    No signature is over it, so it is asked for beside a proof: whoever has one and says
    less than is true sends a webhook of their own.
    """
    hops = max(map(_number, request.headers.getall(HOPS, [])), default=0)
    if hops >= _HOPS_MAX:
        RECEIVED.labels(name, "looping").inc()
        raise LoopDetected(f"It came to us {_HOPS_MAX} times before: it is in a loop")
    return hops


def _number(said: str) -> int:
    """Return the integer that a header says, at most as many as matter, else 0."""
    if not (said.isascii() and said.isdigit()):
        return 0
    return min(int(said), _HOPS_MAX) if len(said) <= _DIGITS_MAX else _HOPS_MAX


def _require_token(request: web.Request, recipient: Recipient | None) -> None:
    """Raise `Unproven` unless the organization's token is shown.

    Without an organization something is compared all the same, and nothing is raised
    for its sake.
    """
    given = request.headers.get(_TOKEN)
    if not given:
        raise _refused(CUSTOM, Unproven("unsigned"))
    token = None if recipient is None else recipient.webhook_token
    fits = hmac.compare_digest(octets(given), (token or _NOBODYS_TOKEN).encode())
    if recipient is not None and (token is None or not fits):
        raise _refused(CUSTOM, Unproven("forged"))


def _prove(
    name: ProviderName, headers: Headers, body: bytes, source: Source | None
) -> None:
    signers = (_NOBODYS_SECRET,) if source is None else source.secrets
    try:
        PROVIDERS[name].prove(headers, body, signers, now=time.time())
    except Unproven as error:
        raise _refused(name, error) from error


def _refused(provider: str, error: Unproven) -> Unproven:
    RECEIVED.labels(provider, error.reason).inc()
    return error


def _said_once(request: web.Request) -> Mapping[str, str]:
    """Return the headers without those that came twice.

    Of two, what was proven and what was read might be different ones.
    """
    # Not its keys: they are given once, however often they are there.
    said = list(request.headers.items())
    times = Tally(name.lower() for name, _ in said)
    return CIMultiDict(
        (name, value) for name, value in said if times[name.lower()] == 1
    )


def _echo(greeting: Greeting) -> web.Response:
    if greeting.challenge is None:
        return _nothing()
    echo: shapes.Echo = {"challenge": greeting.challenge}
    return answer(echo)


def _nothing() -> web.Response:
    """Return an answer that nothing can be shown of."""
    return web.Response(text="")
