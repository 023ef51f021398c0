"""Certificates for servers and clients on this machine, and authorities of our own."""

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Issued(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; nobody but the test takes its word."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key.public_key())
        self._certificate = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        """Its own certificate."""
        return _pem(self._certificate)

    def issue(self, host: str, *, lasts: timedelta = timedelta(hours=1)) -> Issued:
        """Return a certificate of *host*, be it a server or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(host), self._name, key.public_key(), lasts)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(_pem(certificate), _key_pem(key))

    def server(
        self, host: str = "localhost", *, clients_of: "Authority | None" = None
    ) -> ssl.SSLContext:
        """Return how a server named *host* listens.

        Only to clients with a certificate of *clients_of*, if there is such.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "server.pem"
            file.write_text("".join(self.issue(host)))
            context.load_cert_chain(file)
        if clients_of is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients_of.pem)
        return context


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    lasts: timedelta = timedelta(hours=1),
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + lasts)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def self_signed(host: str) -> Issued:
    """Return a certificate that has only its own word for it, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name(host), _name(host), key.public_key())
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Issued(_pem(certificate), _key_pem(key))


def write_certificate(directory: Path, host: str) -> tuple[Path, Path]:
    """Write a certificate that signs itself, and its key; return where they are."""
    issued = self_signed(host)
    certificate_path, key_path = directory / "cert.pem", directory / "key.pem"
    certificate_path.write_text(issued.certificate)
    key_path.write_text(issued.key)
    return certificate_path, key_path
