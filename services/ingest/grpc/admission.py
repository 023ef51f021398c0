"""Who calls: the credential in a call's metadata, and whether it may call now.

Who is wrong about it is counted by address, as over REST and together with it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from libs.common.access import KeyRing, Principal
from libs.common.errors import Unauthorized
from services.ingest.allowances import Allowances, Rate
from services.ingest.grpc.errors import Context
from services.ingest.settings import Settings
from services.ingest.strangers import Strangers, client_of, public_rate

Metadata = Iterable[tuple[str, str | bytes]]

#: Where a credential may stand; the first that does.
_NAMES: Final = ("x-api-key", "authorization")
_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets callers in: known (`KeyRing`), and not too fast (`Allowances`)."""

    keys: KeyRing
    allowances: Allowances
    strangers: Strangers
    settings: Settings

    async def admit(self, context: Context) -> Principal:
        """Return who calls; raises `Unauthorized`, `RateLimited`, `Unavailable`."""
        return await self.let_in(
            lambda: credential(metadata_of(context)),
            lambda: client_address(context, self.settings),
        )

    async def let_in(
        self, given: Callable[[], str], client: Callable[[], str]
    ) -> Principal:
        """Return whose credential is *given*, and count the request.

        Who is wrong about it is counted as *client*.  Raises as `admit` does.
        """

        def rate() -> Rate:
            return public_rate(self.settings, client())

        try:
            principal = await self.keys.principal(
                given(), strange=lambda: self.strangers.require_room(rate())
            )
        except Unauthorized:
            self.strangers.admit(rate())
            raise
        await self.allowances.admit(principal)
        return principal

    async def whoever(self, metadata: Metadata) -> Principal:
        """Return who calls, uncounted: to look again at who is in already."""
        return await self.keys.principal(credential(metadata))


def metadata_of(context: Context) -> Metadata:
    """Return what the client sent before its request, as pairs."""
    return context.invocation_metadata() or ()


def client_address(context: Context, settings: Settings) -> str:
    """Return the client, as it is counted: proxies are believed as over REST."""
    texts = [
        (name, value) for name, value in metadata_of(context) if isinstance(value, str)
    ]
    trusted = (settings.trusted_client_ip_header or "").lower()
    # "ipv4:127.0.0.1:50000", "ipv6:%5B::1%5D:50000"; a socket of this machine has none.
    kind, _, peer = unquote(context.peer()).partition(":")
    return client_of(
        peer if kind in {"ipv4", "ipv6"} else None,
        named=next((value for name, value in texts if name == trusted), None),
        forwarded=[value for name, value in texts if name == "x-forwarded-for"],
        hops=settings.trusted_proxy_hops,
    )


def credential(metadata: Metadata) -> str:
    """Return ``x-api-key``, or else ``authorization``, with or without its scheme.

    Raises `Unauthorized` when there is neither.
    """
    given = ""
    for name, value in metadata:
        if name in _NAMES and isinstance(value, str) and value:
            given = value
            if name == _NAMES[0]:
                break
    if given[: len(_SCHEME)].lower() == _SCHEME:
        given = given[len(_SCHEME) :]
    given = given.strip()
    if not given:
        raise Unauthorized("Missing or invalid Authorization header")
    return given
