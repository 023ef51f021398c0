"""Who calls: the credential in a call's metadata, and whether it may call now."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from libs.common.access import KeyRing, Principal
from libs.common.errors import Unauthorized
from services.ingest.allowances import Allowances

Metadata = Iterable[tuple[str, str | bytes]]

#: Where a credential may stand; the first that does.
_NAMES: Final = ("x-api-key", "authorization")
_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets callers in: known (`KeyRing`), and not too fast (`Allowances`)."""

    keys: KeyRing
    allowances: Allowances

    async def admit(self, metadata: Metadata) -> Principal:
        """Return who calls; raises `Unauthorized`, `RateLimited`, `Unavailable`."""
        principal = await self.whoever(metadata)
        await self.allowances.admit(principal)
        return principal

    async def whoever(self, metadata: Metadata) -> Principal:
        """Return who calls, uncounted: to look again at who is in already."""
        return await self.keys.principal(credential(metadata))


def metadata_of(context: grpc.aio.ServicerContext[Any, Any]) -> Metadata:
    """Return what the client sent before its request, as pairs."""
    return context.invocation_metadata() or ()


def credential(metadata: Metadata) -> str:
    """Return ``x-api-key``, or else ``authorization``, with or without its scheme.

    Raises `Unauthorized` when there is neither.
    """
    found = {
        name: value
        for name, value in metadata
        if name in _NAMES and isinstance(value, str)
    }
    given = next((found[name] for name in _NAMES if found.get(name)), "")
    if given[: len(_SCHEME)].lower() == _SCHEME:
        given = given[len(_SCHEME) :]
    given = given.strip()
    if not given:
        raise Unauthorized("Missing or invalid Authorization header")
    return given
