"""From the certificates of an endpoint to a TLS context, over real handshakes."""

import asyncio
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from libs.common import tls
from libs.common.endpoints import Tls
from libs.common.tls import PEM_CHARS_MAX, BadTls, check, context_of
from tests.support.certificates import Authority, self_signed

OURS, THEIRS = Authority("ours"), Authority("theirs")
CLIENT = OURS.issue("client")
NOBODY = ""
GARBLED = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@asynccontextmanager
async def serving(context):
    """Greet whoever gets through the handshake."""

    async def greet(_, writer):
        subject = (writer.get_extra_info("peercert") or {}).get("subject", ())
        writer.write(repr(subject).encode())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def greeting(port, context):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    try:
        return (await reader.read()).decode()
    except (ssl.SSLError, ConnectionError):
        return NOBODY
    finally:
        writer.close()


async def test_only_the_authorities_that_are_named_are_believed():
    async with serving(THEIRS.server()) as port:
        assert await greeting(port, context_of(Tls(ca=THEIRS.pem))) == "()"
        assert await greeting(port, context_of(Tls(ca=OURS.pem + THEIRS.pem))) == "()"
        also = context_of(Tls(ca=THEIRS.pem), also_public=True)
        assert await greeting(port, also) == "()"
        for context in (context_of(), context_of(Tls(ca=OURS.pem))):
            with pytest.raises(ssl.SSLCertVerificationError):
                await greeting(port, context)


async def test_the_name_is_checked_whoever_signed():
    async with serving(THEIRS.server("other.example")) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await greeting(port, context_of(Tls(ca=THEIRS.pem)))


async def test_a_certificate_that_signs_itself_can_be_named(tmp_path):
    issued = self_signed("localhost")
    file = tmp_path / "server.pem"
    file.write_text("".join(issued))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)

    async with serving(server) as port:
        assert await greeting(port, context_of(Tls(ca=issued.certificate))) == "()"


async def test_a_client_shows_its_certificate():
    ours = Tls(
        client_certificate=CLIENT.certificate, client_key=CLIENT.key, ca=THEIRS.pem
    )

    async with serving(THEIRS.server(clients_of=OURS)) as port:
        assert "'client'" in await greeting(port, context_of(ours))
        assert await greeting(port, context_of(Tls(ca=THEIRS.pem))) == NOBODY


def test_what_can_be_used_is_found_good_without_the_authorities_of_this_machine():
    check(Tls())
    check(Tls(ca=OURS.pem))
    check(Tls(client_certificate=CLIENT.certificate, client_key=CLIENT.key))
    assert context_of().cert_store_stats()["x509"] > 1
    assert context_of(Tls(ca=OURS.pem)).cert_store_stats()["x509"] == 1
    public_too = context_of(Tls(ca=OURS.pem), also_public=True)
    assert public_too.cert_store_stats()["x509"] > 2


async def test_nothing_older_than_tls_1_2_is_spoken():
    assert context_of().minimum_version is ssl.TLSVersion.TLSv1_2
    assert context_of(Tls(ca=OURS.pem)).minimum_version is ssl.TLSVersion.TLSv1_2
    assert context_of().check_hostname
    assert context_of(Tls(ca=OURS.pem)).verify_mode is ssl.CERT_REQUIRED


def pem_of(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    ).decode()


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
ENCRYPTED = pem_of(OTHER_KEY, serialization.BestAvailableEncryption(b"x"))
RSA = pem_of(rsa.generate_private_key(65537, 2048))


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        (Tls(ca=""), "ca", "certificates as PEM"),
        (Tls(ca="x"), "ca", "certificates as PEM"),
        (Tls(ca=GARBLED), "ca", "certificates as PEM"),
        (Tls(ca=CLIENT.key), "ca", "certificates as PEM"),
        (Tls(ca="ü"), "ca", "ASCII"),
        (Tls(ca="x" * (PEM_CHARS_MAX + 1)), "ca", "at most"),
        (Tls(client_key=CLIENT.key), "client_certificate", "required"),
        (Tls(client_certificate=CLIENT.certificate), "client_key", "required"),
        (
            Tls(client_certificate=GARBLED, client_key=CLIENT.key),
            "client_certificate",
            "as PEM",
        ),
        (
            Tls(client_certificate=CLIENT.key, client_key=CLIENT.certificate),
            "client_certificate",
            "as PEM",
        ),
        *(
            (
                Tls(client_certificate=CLIENT.certificate, client_key=key),
                "client_key",
                words,
            )
            for key, words in (
                ("x", "private key as PEM"),
                (GARBLED, "private key as PEM"),
                (ENCRYPTED, "encrypted"),
                (pem_of(OTHER_KEY), "does not belong"),
                (RSA, "does not belong"),
            )
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_not_quoted(parts, field, words):
    with pytest.raises(BadTls, match=words) as caught:
        context_of(parts)
    with pytest.raises(BadTls, match=words):
        check(parts)

    assert caught.value.field == field
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "BEGIN" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="no files in memory elsewhere")
def test_the_private_key_is_in_no_directory_while_it_is_loaded():
    with tls._file(CLIENT.key) as path:
        assert Path(path).read_text() == CLIENT.key
        assert Path(path).readlink().name.startswith("memfd:")

    assert not Path(path).exists()
