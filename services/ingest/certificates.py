"""Certificates of an endpoint, judged when they are given (pure).

A certificate that cannot work would fail every delivery, days later and one by one.
"""

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from libs.common.endpoints import Tls
from libs.common.errors import Fault, Malformed


def judged(tls: Tls) -> dict[str, Any]:
    """Return what of *tls* may be shown; raises `Malformed` for what cannot work."""
    subject, not_after = None, None
    if tls.client_certificate is not None:
        leaf = _certificates(tls.client_certificate, "tls.client_certificate")[0]
        _require_matching(leaf, _key(tls.client_key or ""))
        subject = leaf.subject.rfc4514_string()
        not_after = leaf.not_valid_after_utc.isoformat()
    if tls.ca is not None:
        _certificates(tls.ca, "tls.ca")
    return {
        "has_client_certificate": tls.client_certificate is not None,
        "subject": subject,
        "not_after": not_after,
        "has_ca": tls.ca is not None,
    }


def _certificates(text: str, field: str) -> list[x509.Certificate]:
    """Return the certificates in *text*, none of which is over."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        ends = [one.not_valid_after_utc for one in found]
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed(Fault(field, "must be certificates as PEM", "pem")) from None
    if min(ends) <= datetime.now(UTC):
        raise Malformed(
            Fault(field, f"a certificate has expired: {min(ends):%Y-%m-%d}", "expired")
        )
    return found


def _key(text: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError is said of a key that is encrypted.
        raise Malformed(
            Fault(
                "tls.client_key", "must be a private key as PEM, not encrypted", "pem"
            )
        ) from None


def _require_matching(leaf: x509.Certificate, key: PrivateKeyTypes) -> None:
    spelling = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        same = leaf.public_key().public_bytes(*spelling) == (
            key.public_key().public_bytes(*spelling)
        )
    except (ValueError, UnsupportedAlgorithm):
        same = False
    if not same:
        raise Malformed(
            Fault("tls.client_key", "does not belong to the client certificate", "pair")
        )
