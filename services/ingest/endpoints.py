"""Endpoints on their way in: checked beyond their shapes, their secrets sealed."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from libs.common import keys
from libs.common.access import Principal
from libs.common.addresses import checked_url
from libs.common.backoff import Exponential, Schedule
from libs.common.db import Conn
from libs.common.endpoints import encode
from libs.common.errors import Fault, Malformed, QuotaExceeded
from libs.common.filters import BadFilter, compile_filter
from libs.common.ids import new_id
from libs.common.sealing import Sealer
from libs.common.store import endpoint_secrets, endpoints, organizations
from libs.common.store.endpoints import NewEndpoint, Scheme
from services.ingest.certificates import judged
from services.ingest.requests.endpoint_auth import OAuth2Auth, shown
from services.ingest.requests.endpoints import (
    ChangeEndpoint,
    CreateEndpoint,
    EndpointFields,
)

#: How many an organization may have, outgoing webhooks among them, whatever its plan:
#: a message is fanned out to all of them in one transaction.
ENDPOINTS_MAX: Final = 1000
#: How many secrets may sign for one endpoint: each makes every request longer.
SECRETS_MAX: Final = 10

#: What null takes away.
_CLEARED: Final = frozenset(
    ["description", "filter", "retry", "rate_limit_per_second", "auth", "tls"]
)
_MAX_RETRIES: Final = 9


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that is to sign: *shown* is what its owner gets to see, this once."""

    scheme: Scheme
    raw: bytes
    public_key: str | None
    shown: dict[str, str]

    async def put(
        self, conn: Conn, sealer: Sealer, endpoint_id: UUID, **how: Any
    ) -> None:
        """Let it sign for an endpoint."""
        await endpoint_secrets.put_secret(
            conn,
            endpoint_id=endpoint_id,
            scheme=self.scheme,
            sealed=sealer.seal(self.raw, owner=str(endpoint_id)),
            public_key=self.public_key,
            **how,
        )


def signing_key(scheme: Scheme, given: str | None) -> SigningKey:
    """Return the key that was *given*, or a new one; raises `Malformed`."""
    try:
        if scheme == "v1a":
            raw = keys.new_secret() if given is None else keys.read_seed(given)
        else:
            raw = (
                keys.new_secret() if given is None else keys.read_signing_secret(given)
            )
    except ValueError as error:
        raise Malformed(Fault("secret", str(error), "secret")) from None
    if scheme == "v1a":
        public_key = keys.spelled_public_key(keys.public_key_of(raw))
        return SigningKey(scheme, raw, public_key, {"public_key": public_key})
    return SigningKey(scheme, raw, None, {"secret": keys.spelled_secret(raw)})


def new_endpoint(
    asked: CreateEndpoint, *, sealer: Sealer, development: bool
) -> NewEndpoint:
    """Return what is to be created; raises `Malformed`."""
    id_ = new_id()
    columns = _columns(asked, id_, sealer=sealer, development=development)
    given = {name: value for name, value in columns.items() if value is not None}
    if given.get("enabled", True):
        given.pop("disabled_reason", None)
    else:
        given.setdefault("disabled_reason", "manual")
    return NewEndpoint(id=id_, **given)


def changes_of(
    asked: ChangeEndpoint, id_: UUID, *, sealer: Sealer, development: bool
) -> dict[str, Any]:
    """Return the columns that are to be changed; raises `Malformed`."""
    columns = _columns(asked, id_, sealer=sealer, development=development)
    columns.pop("signature_scheme", None)
    return {
        name: value
        for name, value in columns.items()
        if value is not None or name.removesuffix("_shown") in _CLEARED
    }


def _columns(
    asked: EndpointFields, id_: UUID, *, sealer: Sealer, development: bool
) -> dict[str, Any]:
    """Return the columns of what was said, as `NewEndpoint` has them."""
    said = asked.model_fields_set
    columns = asked.model_dump(mode="json", include=set(said))
    columns.pop("secret", None)
    if columns.get("url") is not None:
        columns["url"] = checked_url(
            columns["url"], development=development, field="url"
        ).url
    if columns.get("event_types") is not None:
        columns["event_types"] = list(dict.fromkeys(columns["event_types"]))
    if asked.filter is not None:
        require_filter(asked.filter)
    if "retry" in said and asked.max_retries is None:
        columns["max_retries"] = _retries_of(asked.retry)
    if "auth" in said:
        columns |= _auth(asked, id_, sealer=sealer, development=development)
    if "tls" in said:
        columns |= _tls(asked, id_, sealer=sealer)
    return columns


def require_filter(spec: dict[str, Any]) -> None:
    """Raise `Malformed`, with its place, for what is wrong with a filter."""
    try:
        compile_filter(spec)
    except BadFilter as error:
        place = f"filter.{error.place}" if error.place else "filter"
        raise Malformed(Fault(place, error.words, "filter")) from None


def _retries_of(policy: Exponential | Schedule | None) -> int:
    """Return how many retries a policy is meant for."""
    if isinstance(policy, Schedule):
        return len(policy.schedule_seconds)
    return _MAX_RETRIES


def _auth(
    asked: EndpointFields, id_: UUID, *, sealer: Sealer, development: bool
) -> dict[str, Any]:
    auth = asked.auth
    if auth is None:
        return {"auth": None, "auth_shown": None}
    if isinstance(auth, OAuth2Auth):
        target = checked_url(
            auth.token_url, development=development, field="auth.token_url"
        )
        auth = auth.model_copy(update={"token_url": target.url})
    return {
        "auth": sealer.seal(encode(auth.to_seal()), owner=str(id_)),
        "auth_shown": shown(auth),
    }


def _tls(asked: EndpointFields, id_: UUID, *, sealer: Sealer) -> dict[str, Any]:
    if asked.tls is None:
        return {"tls": None, "tls_shown": None}
    tls = asked.tls.to_seal()
    facts = judged(tls)
    return {
        "tls": sealer.seal(encode(tls), owner=str(id_)),
        "tls_shown": facts,
    }


async def hold(conn: Conn, principal: Principal) -> None:
    """Let nobody else change the endpoints until the transaction ends."""
    await organizations.lock_organization(conn, id_=principal.organization_id)


async def require_room(
    conn: Conn, principal: Principal, *, new: bool, enabled: bool
) -> None:
    """Raise `QuotaExceeded` unless there is room for one more endpoint.

    *new* is one more there is, *enabled* one more that gets messages.  The caller has
    the organization (`hold`).
    """
    count = await endpoints.count_endpoints(
        conn, organization_id=principal.organization_id
    )
    if new and count.all_of_them >= ENDPOINTS_MAX:
        raise QuotaExceeded(
            resource="webhooks",
            current=count.all_of_them,
            limit=ENDPOINTS_MAX,
            plan=principal.plan.tier,
            upgrade_to=None,
        )
    if enabled:
        principal.plan.require("webhooks", after=count.enabled + 1)


def require_same_scheme(asked: ChangeEndpoint, scheme: str) -> None:
    """Raise `Malformed` for another scheme: that needs another secret."""
    if asked.signature_scheme not in (None, scheme):
        raise Malformed(
            Fault(
                "signature_scheme",
                "is changed with a new secret: POST /endpoints/{id}/secret/rotate",
                "scheme",
            )
        )
