"""How requests to one receiver are made: signed, dressed, and with whose credentials.

A `Manner` is made once of what a batch brings, sealed, and used for every attempt to
that receiver while it stays the same.  Nothing in it is ever printed.

An attempt is never made unsigned, but for an outgoing webhook that has no secret
(contract 5.7).  Who it is from is said last, so that no header of a job or of the
endpoint says otherwise.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

import structlog
from multidict import CIMultiDict

from libs.common.endpoints import (
    ApiKey,
    Auth,
    Basic,
    Bearer,
    OAuth2,
    Tls,
    decode_auth,
    decode_tls,
)
from libs.common.headers import HOPS, is_reserved
from libs.common.messages import Delivery, Receiver
from libs.common.sealing import Sealer, Unsealable
from services.delivery.oauth import Account
from services.delivery.request import lines_of
from services.delivery.signature import (
    Asymmetric,
    ContractSigner,
    Signer,
    Symmetric,
)

log = structlog.get_logger()

#: How many receivers, and accounts for tokens, are remembered.
_REMEMBERED_MAX: Final = 4096

#: SW-03: nothing in it can be taken for the dot behind it, or end a line.
_WEBHOOK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _user_agent() -> str:
    try:
        return f"Bellhop/{version('bellhop')}"
    except PackageNotFoundError:
        return "Bellhop"


_DEFAULTS: Final = {
    "Content-Type": "application/json",
    "User-Agent": _user_agent(),
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
_CONTRACT_USER_AGENT: Final = "Spooled-OutgoingWebhook/1.0"
#: What an outgoing webhook says of itself, the signature last.
_CONTRACT_OWN: Final = (
    "X-Spooled-Timestamp",
    "X-Spooled-Delivery-Attempt",
    "X-Spooled-Signature",
)

#: The header that shows who we are, where it is always the same.
Credential = tuple[str, str]


class Manner:
    """How requests to one receiver are made."""

    def __init__(
        self,
        signer: Signer | None,
        *,
        is_contract: bool = False,
        contract: ContractSigner | None = None,
        headers: Mapping[str, str] | None = None,
        credential: Credential | None = None,
        account: Account | None = None,
        tls: Tls | None = None,
        send_traceparent: bool = False,
    ) -> None:
        self._signer = signer
        self._is_contract = is_contract
        self._contract = contract
        self._credential = credential
        #: Where tokens come from, if this receiver wants any.
        self.account = account
        #: The certificates of its connections, if they are not everybody's.
        self.tls = tls
        #: Whether this receiver is told the trace of an attempt.
        self.send_traceparent = send_traceparent
        self._base: CIMultiDict[str] = CIMultiDict(_DEFAULTS)
        if is_contract:
            self._base["User-Agent"] = _CONTRACT_USER_AGENT
        _put(self._base, (headers or {}).items())
        #: What goes with every request whose job brings no headers, if it can be sent.
        self._lines: str | None = None
        with suppress(ValueError):
            self._lines = self._lines_with({})

    def lines(self, job: Delivery, body: bytes, *, timestamp: int) -> str:
        """Return the headers of one attempt; raises `ValueError` if they are none.

        Those of the job say what is in the body: they replace the receiver's.
        """
        id_ = job.webhook_id or job.job_id
        if self._lines is None or _WEBHOOK_ID.fullmatch(id_) is None:
            raise ValueError("not a header")
        lines = self._lines_with(job.headers) if job.headers else self._lines
        lines = f"{lines}webhook-id: {id_}\r\nwebhook-timestamp: {timestamp}\r\n"
        if self._signer is not None:
            signature = self._signer.sign(id_, timestamp, body)
            lines = f"{lines}webhook-signature: {signature}\r\n"
        if self._is_contract:
            return lines + self._contract_lines(job, body, timestamp)
        return lines

    def _lines_with(self, headers: Mapping[str, str]) -> str:
        """Return the lines of what is not said by ourselves, attempt by attempt."""
        every = self._base.copy()
        _put(every, headers.items())
        if self._credential is not None:
            name, every[name] = self._credential
        if self.account is not None:
            every.popall("Authorization", None)
        if self._is_contract:
            for name in _CONTRACT_OWN:
                every.popall(name, None)
        if HOPS in headers:
            every[HOPS] = headers[HOPS]
        return lines_of(every.items())

    def _contract_lines(self, job: Delivery, body: bytes, timestamp: int) -> str:
        own = [str(timestamp), str(job.attempt)]
        if self._contract is not None:
            own.append(self._contract.sign(timestamp, body))
        return lines_of(zip(_CONTRACT_OWN, own, strict=False))


def _put(headers: CIMultiDict[str], more: Iterable[tuple[str, str]]) -> None:
    """Add *more*, but for what is not theirs to say."""
    for name, value in more:
        if not is_reserved(name):
            headers[name] = value


def plain(secrets: Iterable[bytes]) -> Manner:
    """Return the manner of a job that names its target by itself."""
    return Manner(Signer([Symmetric(secret) for secret in secrets]))


def key_of(job: Delivery) -> str:
    """Return whose manner a job is sent in: its endpoint's, or its organization's."""
    return job.endpoint_id or job.organization_id


class _Sealed(NamedTuple):
    """A `Receiver` as it can be remembered."""

    is_contract: bool
    keys: tuple[tuple[str, bytes], ...]
    headers: tuple[tuple[str, str], ...]
    auth: bytes | None
    tls: bytes | None
    send_traceparent: bool


class Manners:
    """Opens what is sealed, and remembers the manners it made of it."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._organization = lru_cache(maxsize=_REMEMBERED_MAX)(self._of_organization)
        self._receiver = lru_cache(maxsize=_REMEMBERED_MAX)(self._of_receiver)
        # Apart from the manners: a token outlives a change of the receiver's headers.
        self._account = lru_cache(maxsize=_REMEMBERED_MAX)(Account)

    def of_job(
        self, job: Delivery, *, secrets: Sequence[bytes], receiver: Receiver | None
    ) -> Manner | None:
        """Return the manner of *job*, or None, and say why.

        Of a job for an endpoint *receiver* says it, and never the *secrets* of the
        organization.
        """
        try:
            if job.endpoint_id is None:
                return self.of_organization(job.organization_id, secrets)
            return self.of_receiver(job.endpoint_id, receiver)
        except Unsealable as error:
            log.error(  # noqa: TRY400 - no traceback: a person should look at the keys
                "secret.unsealable",
                organization_id=job.organization_id,
                endpoint_id=job.endpoint_id,
                job_id=job.job_id,
                cause=str(error),
            )
            return None

    def of_organization(self, organization_id: str, secrets: Sequence[bytes]) -> Manner:
        """Return the manner of jobs that name their targets by themselves.

        *secrets* are the organization's, newest first.  Raises `Unsealable` when one
        of them cannot be opened, or there is none.
        """
        return self._organization(organization_id, tuple(secrets))

    def of_receiver(self, endpoint_id: str, receiver: Receiver | None) -> Manner:
        """Return the manner of a configured endpoint; raises `Unsealable`."""
        if receiver is None:
            raise Unsealable("an endpoint that nothing is known of")
        return self._receiver(
            endpoint_id,
            _Sealed(
                receiver.style == "contract",
                tuple([(key.scheme, key.sealed) for key in receiver.keys]),
                tuple(receiver.headers.items()),
                receiver.auth,
                receiver.tls,
                receiver.send_traceparent,
            ),
        )

    def _of_organization(
        self, organization_id: str, secrets: tuple[bytes, ...]
    ) -> Manner:
        if not secrets:
            raise Unsealable("an organization without a signing secret")
        return plain(
            [self._sealer.unseal(one, owner=organization_id) for one in secrets]
        )

    def _of_receiver(self, endpoint_id: str, sealed: _Sealed) -> Manner:
        try:
            return self._opened(endpoint_id, sealed)
        except ValueError as error:
            # A seed of another length, or a shape that we do not know.
            raise Unsealable(f"an endpoint's secrets: {error}") from None

    def _opened(self, endpoint_id: str, sealed: _Sealed) -> Manner:
        def unsealed(part: bytes) -> bytes:
            return self._sealer.unseal(part, owner=endpoint_id)

        signers: list[Symmetric | Asymmetric] = []
        contract: list[ContractSigner] = []
        for scheme, key in sealed.keys:
            match scheme:
                case "v1":
                    signers.append(Symmetric(unsealed(key)))
                case "v1a":
                    signers.append(Asymmetric(unsealed(key)))
                case _:
                    contract.append(ContractSigner(unsealed(key)))
        if not signers and not sealed.is_contract:
            raise Unsealable("an endpoint without a key")
        auth = None if sealed.auth is None else decode_auth(unsealed(sealed.auth))
        return Manner(
            Signer(signers) if signers else None,
            is_contract=sealed.is_contract,
            # The header has room for one, and the current key stands first.
            contract=contract[0] if contract else None,
            headers=dict(sealed.headers),
            credential=_credential(auth),
            account=(
                self._account(endpoint_id, auth) if isinstance(auth, OAuth2) else None
            ),
            tls=None if sealed.tls is None else decode_tls(unsealed(sealed.tls)),
            send_traceparent=sealed.send_traceparent,
        )


def _credential(auth: Auth | None) -> Credential | None:
    match auth:
        case Basic(username=username, password=password):
            both = b64encode(f"{username}:{password}".encode()).decode()
            return "Authorization", f"Basic {both}"
        case Bearer(token=token):
            return "Authorization", f"Bearer {token}"
        case ApiKey(header=header, value=value):
            return header, value
        case _:
            return None
