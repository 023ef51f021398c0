"""The sender over TLS: private authorities, client certificates, and who gets which."""

import asyncio
import contextlib
import socket
import ssl
import warnings

import pytest

from libs.common.endpoints import Bearer, OAuth2, Tls
from libs.common.ids import new_id
from libs.common.messages import Verdict
from services.delivery.manners import Manner, Manners, plain
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from tests.support.certificates import Authority
from tests.support.delivery import SEALER, SECRET, SECRET_KEY, job, receiver
from tests.support.receivers import Receiver, run_receiver, saying

OURS, THEIRS = Authority("ours"), Authority("theirs")
CLIENT, OTHER_CLIENT = OURS.issue("client"), OURS.issue("other client")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TOKEN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n"
    b'{"access_token":"T1","token_type":"Bearer"   }'
)
MUTUAL = Tls(
    client_certificate=CLIENT.certificate, client_key=CLIENT.key, ca=THEIRS.pem
)
STRANGER = THEIRS.issue("client")
STRANGE = Tls(
    client_certificate=STRANGER.certificate, client_key=STRANGER.key, ca=THEIRS.pem
)


@pytest.fixture
async def sender():
    knobs = Settings(secret_key=SECRET_KEY, environment="development")
    async with open_sender(knobs) as sender:
        yield sender


def manner_of(tls=None, auth=None) -> Manner:
    endpoint_id = str(new_id())
    return Manners(SEALER).of_receiver(
        endpoint_id, receiver(endpoint_id, tls=tls, auth=auth)
    )


async def attempt(sender: Sender, server: Receiver, manner: Manner) -> Verdict:
    url = f"https://localhost:{server.port}/hook"
    return await sender.attempt(
        job(url, b"", method="GET"), b"", manner, lease_id="lease-1"
    )


async def test_a_private_authority_is_believed_by_its_endpoint_and_nobody_else(sender):
    async with run_receiver(saying(OK), tls=THEIRS.server()) as server:
        for manner in (plain([SECRET]), manner_of(), manner_of(Tls(ca=OURS.pem))):
            verdict = await attempt(sender, server, manner)
            assert verdict.status is None
            assert verdict.error == "TLS: unable to get local issuer certificate"
        assert server.heads == []

        verdict = await attempt(sender, server, manner_of(Tls(ca=THEIRS.pem)))
        assert verdict.status == 200
        # A connection that was trusted for one is not there for another.
        for manner in (plain([SECRET]), manner_of()):
            assert (await attempt(sender, server, manner)).status is None

    assert len(server.heads) == 1


async def test_the_name_of_the_receiver_must_be_in_its_certificate(sender):
    async with run_receiver(saying(OK), tls=THEIRS.server("a.example")) as server:
        verdict = await attempt(sender, server, manner_of(Tls(ca=THEIRS.pem)))

    assert verdict.error is not None
    assert verdict.error.startswith("TLS: Hostname mismatch")
    assert server.heads == []


async def test_a_client_certificate_is_shown_where_one_is_wanted(sender):
    tls = THEIRS.server(clients_of=OURS)
    async with run_receiver(saying(OK), tls=tls) as server:
        verdict = await attempt(sender, server, manner_of(MUTUAL))
        assert (verdict.status, verdict.body) == (200, b"ok")

        for parts in (Tls(ca=THEIRS.pem), STRANGE):
            verdict = await attempt(sender, server, manner_of(parts))
            assert verdict.status is None
            assert verdict.error == "connection closed before the answer"

    assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("version", "parts", "why"),
    [
        (
            ssl.TLSVersion.TLSv1_3,
            Tls(ca=THEIRS.pem),
            "tlsv13 alert certificate required",
        ),
        (ssl.TLSVersion.TLSv1_3, STRANGE, "tlsv1 alert unknown ca"),
        (
            ssl.TLSVersion.TLSv1_2,
            Tls(ca=THEIRS.pem),
            "sslv3 alert handshake failure",
        ),
        (ssl.TLSVersion.TLSv1_2, STRANGE, "tlsv1 alert unknown ca"),
    ],
)
async def test_why_a_client_is_turned_away_is_told_as_the_server_says_it(
    sender, version, parts, why
):
    tls = THEIRS.server(clients_of=OURS)
    tls.maximum_version = version

    def greet(server: socket.socket) -> None:
        # Unlike asyncio's, this one says why it hangs up.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with (
                    contextlib.suppress(OSError),
                    tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    ) as secure,
                ):
                    with contextlib.suppress(OSError):
                        secure.do_handshake()
                    # Or what it said could be lost in a reset.
                    while socket.socket.recv(secure, 65536):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://localhost:{server.getsockname()[1]}/"
        greeting = asyncio.create_task(asyncio.to_thread(greet, server))
        verdict = await sender.attempt(
            job(url, b"", method="GET"), b"", manner_of(parts), lease_id="lease-1"
        )
        server.shutdown(socket.SHUT_RDWR)
        await greeting

    assert verdict.error == f"TLS: {why}"


async def test_connections_are_kept_apart_by_who_we_are_on_them(sender):
    subjects: list[str] = []

    async def talk(_, writer):
        ((_, name),), *_ = writer.get_extra_info("peercert")["subject"]
        subjects.append(name)
        writer.write(OK)

    other = Tls(
        client_certificate=OTHER_CLIENT.certificate,
        client_key=OTHER_CLIENT.key,
        ca=THEIRS.pem,
    )
    one, two = manner_of(MUTUAL), manner_of(other)
    async with run_receiver(talk, tls=THEIRS.server(clients_of=OURS)) as server:
        for manner in (one, two, one, two):
            assert (await attempt(sender, server, manner)).status == 200
        # The same certificates of another endpoint are the same connection.
        assert (await attempt(sender, server, manner_of(MUTUAL))).status == 200

    assert subjects == ["client", "other client"] * 2 + ["client"]
    assert server.connections == 2


async def test_what_is_older_than_tls_1_2_is_not_spoken(sender):
    old = THEIRS.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    async with run_receiver(saying(OK), tls=old) as server:
        verdict = await attempt(sender, server, manner_of(Tls(ca=THEIRS.pem)))

    assert verdict.status is None
    assert verdict.error == "connection closed during the handshake"
    assert server.heads == []


async def test_certificates_that_cannot_be_used_are_a_failed_attempt(sender):
    garbled = Tls(client_certificate=CLIENT.certificate, client_key=OTHER_CLIENT.key)
    async with run_receiver(saying(OK), tls=THEIRS.server()) as server:
        verdict = await attempt(sender, server, manner_of(garbled))

    assert verdict.sent
    assert verdict.error == "TLS: the client_key cannot be used"
    assert server.connections == 0


async def test_a_token_server_may_be_of_the_private_authority_but_sees_no_certificate(
    sender,
):
    async with (
        run_receiver(saying(TOKEN), tls=THEIRS.server()) as tokens,
        run_receiver(saying(OK), tls=THEIRS.server(clients_of=OURS)) as server,
    ):
        auth = OAuth2(
            token_url=f"https://localhost:{tokens.port}/",
            client_id="c",
            client_secret="s",
        )
        verdict = await attempt(sender, server, manner_of(MUTUAL, auth))
        assert verdict.status == 200
        assert b"Authorization: Bearer T1\r\n" in server.heads[0]

    tls = THEIRS.server(clients_of=OURS)
    async with run_receiver(saying(TOKEN), tls=tls) as tokens:
        auth = OAuth2(
            token_url=f"https://localhost:{tokens.port}/",
            client_id="c",
            client_secret="s",
        )
        verdict = await attempt(sender, server, manner_of(MUTUAL, auth))
        assert verdict.error == "token server: connection closed before the answer"
        assert tokens.heads == []


async def test_a_credential_and_a_certificate_go_together(sender):
    tls = THEIRS.server(clients_of=OURS)
    async with run_receiver(saying(OK), tls=tls) as server:
        verdict = await attempt(sender, server, manner_of(MUTUAL, Bearer(token="t")))

    assert verdict.status == 200
    assert b"Authorization: Bearer t\r\n" in server.heads[0]


async def test_a_context_is_made_once(sender):
    exchange = sender._exchange

    one = await exchange.context(MUTUAL)

    assert await exchange.context(MUTUAL) is one
    assert await exchange.context(Tls(ca=THEIRS.pem)) is not one
    for i in range(200):
        await exchange.context(Tls(ca=THEIRS.pem + "\n" * i))
    assert len(exchange._contexts) == 128
