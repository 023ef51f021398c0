"""From the certificates of an endpoint to a TLS context, and what is wrong with them.

Who takes certificates in and who connects with them ask here, so that nothing gets in
that cannot be used.  TLS is 1.2 or newer, and the other side is always verified.

OpenSSL reads a client's key from a file only: the file is in memory where the system
has such (Linux), else it is readable by us alone, and gone before anybody connects.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from libs.common.endpoints import Tls

#: How large a certificate, with those that lead up to its authority, or a key may be.
PEM_CHARS_MAX: Final = 64 * 1024


class BadTls(ValueError):  # noqa: N818 - what is wrong, no "Error" at the end
    """A part that cannot be used; *field* is its name in `Tls`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def context_of(tls: Tls | None = None, *, also_public: bool = False) -> ssl.SSLContext:
    """Return how to connect with *tls*, or with nothing of our own.

    Where *tls* names no authorities, those of this machine are taken, and with
    *also_public* in any case; reading them takes 20 ms.  Raises `BadTls`.
    """
    context = _context_of(tls or Tls())
    if also_public or tls is None or tls.ca is None:
        context.load_default_certs()
    return context


def check(tls: Tls) -> None:
    """Raise `BadTls` for what nobody could connect with."""
    _context_of(tls)


def _context_of(tls: Tls) -> ssl.SSLContext:
    """Return a context without the authorities of this machine."""
    # Verifies certificates and names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.ca is not None:
        _certificates(tls.ca, "ca")
        try:
            context.load_verify_locations(cadata=tls.ca)
        except ssl.SSLError:
            raise BadTls("ca", "must be certificates as PEM") from None
        # Who names a certificate trusts it, be it an authority's or the server's own;
        # and private authorities do not follow all of RFC 5280.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if (tls.client_certificate, tls.client_key) != (None, None):
        _show(tls, context)
    return context


def _show(tls: Tls, context: ssl.SSLContext) -> None:
    """Let *context* show the client's certificate."""
    if tls.client_certificate is None:
        raise BadTls("client_certificate", "is required with a client_key")
    if tls.client_key is None:
        raise BadTls("client_key", "is required with a client_certificate")
    certificate, *_ = _certificates(tls.client_certificate, "client_certificate")
    if certificate.public_key() != _private_key(tls.client_key).public_key():
        raise BadTls("client_key", "does not belong to the client_certificate")
    with _file(tls.client_certificate) as shown, _file(tls.client_key) as key:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(shown, key, password=lambda: b"")
        except ssl.SSLError as error:
            words = (error.reason or "").replace("_", " ").lower()
            raise BadTls(
                "client_certificate", f"cannot be used: {words or 'not by OpenSSL'}"
            ) from None


def _certificates(pem: str, field: str) -> list[x509.Certificate]:
    data = _checked(pem, field)
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, UnsupportedAlgorithm):
        raise BadTls(field, "must be one or several certificates as PEM") from None


def _private_key(pem: str) -> PrivateKeyTypes:
    data = _checked(pem, "client_key")
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        raise BadTls("client_key", "must not be encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadTls("client_key", "must be a private key as PEM") from None


def _checked(pem: str, field: str) -> bytes:
    if len(pem) > PEM_CHARS_MAX:
        raise BadTls(field, f"must be at most {PEM_CHARS_MAX} characters")
    try:
        return pem.encode("ascii")
    except UnicodeEncodeError:
        raise BadTls(field, "must be ASCII") from None


@contextmanager
def _file(text: str) -> Iterator[str]:
    """Let *text* be read as a file until the block ends."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("pem", os.MFD_CLOEXEC)
        with open(number, "wb") as file:  # noqa: PTH123 - a file without a path
            file.write(text.encode())
            file.flush()
            yield f"/proc/self/fd/{number}"
    else:
        # Mode 0600.
        with tempfile.NamedTemporaryFile() as named:
            named.write(text.encode())
            named.flush()
            yield named.name
