"""Certificates of an endpoint, judged when they are given.

One that cannot work would fail every delivery, later and one by one.
"""

from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from libs.common.endpoints import Tls
from libs.common.errors import Fault, Malformed
from libs.common.tls import BadTls, check


def judged(tls: Tls) -> dict[str, Any]:
    """Return what of *tls* may be shown; raises `Malformed` for what cannot work."""
    try:
        check(tls)
    except BadTls as error:
        raise Malformed(Fault(f"tls.{error.field}", str(error), "tls")) from None
    ours = _certificates(tls.client_certificate, "tls.client_certificate")
    authorities = _certificates(tls.ca, "tls.ca")
    return {
        "has_client_certificate": bool(ours),
        "subject": ours[0].subject.rfc4514_string() if ours else None,
        "not_after": ours[0].not_valid_after_utc.isoformat() if ours else None,
        "has_ca": bool(authorities),
    }


def _certificates(text: str | None, field: str) -> list[x509.Certificate]:
    """Return the certificates in *text*, none of which is over."""
    if text is None:
        return []
    found = x509.load_pem_x509_certificates(text.encode())
    end = min(one.not_valid_after_utc for one in found)
    if end <= datetime.now(UTC):
        raise Malformed(
            Fault(field, f"a certificate has expired: {end:%Y-%m-%d}", "expired")
        )
    return found
