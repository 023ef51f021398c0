"""Whose webhooks we understand, and what we call what they send (pure)."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, Protocol

from services.ingest.incoming import github, shopify, slack, standard, stripe
from services.ingest.incoming.proof import Arrived, Greeting, Headers

ProviderName = Literal["github", "stripe", "shopify", "slack", "standard"]
#: Who has no signature, but shows the organization's token.
CUSTOM: Final = "custom"

_QUEUE_NAME_MAX: Final = 100
_NO_QUEUE_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9_.-]+")
#: Words, with single dashes inside: what else there is parts them.
_WORDS: Final = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*")


class Provider(Protocol):
    """What a provider's module has."""

    @property
    def HEADERS(self) -> Mapping[str, str]:  # noqa: N802 - a constant of a module
        """The headers that mean something, and what."""

    @property
    def FORMS(self) -> bool:  # noqa: N802
        """Whether it sends forms, too."""

    def prove(
        self, headers: Headers, body: bytes, secrets: Sequence[str], *, now: float
    ) -> None:
        """Raise `Unproven` unless one of the secrets signed the body."""

    def read(self, headers: Headers, body: bytes) -> Arrived | Greeting:
        """Return what came, which was believed; raises `Malformed`."""


PROVIDERS: Final[Mapping[ProviderName, Provider]] = MappingProxyType(
    {
        "github": github,
        "stripe": stripe,
        "shopify": shopify,
        "slack": slack,
        "standard": standard,
    }
)


def queue_of(provider: str, event: str) -> str:
    """Return the queue of an event, where nobody chose another.

    >>> queue_of("stripe", "invoice.paid"), queue_of("shopify", "orders/create")
    ('stripe-invoice.paid', 'shopify-orders-create')
    """
    name = _NO_QUEUE_CHARACTERS.sub("-", f"{provider}-{event}")
    return name[:_QUEUE_NAME_MAX]


def type_of(provider: str, event: str) -> str:
    """Return an event's name as jobs and messages have it.

    >>> type_of("github", "push"), type_of("shopify", "orders/create")
    ('github.push', 'shopify.orders.create')
    """
    words = _WORDS.findall(event)
    return ".".join([provider, *words])


def key_of(provider: str, delivery_id: str) -> str:
    """Return what only one job or message of an organization holds."""
    return f"incoming:{provider}:{delivery_id}"


def fault_in(provider: ProviderName, secret: str) -> str | None:
    """Return what is wrong with a secret; most providers sign with any text."""
    return standard.fault_in(secret) if provider == "standard" else None
