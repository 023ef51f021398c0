"""Where connections lead: whatever a name resolves to, and however it is spelt."""

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.addresses import is_special
from libs.common.messages import Verdict
from services.delivery.guard import Forbidden, Guard, guard_of
from services.delivery.manners import plain
from services.delivery.resolver import open_resolver
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from tests.support.delivery import SECRET, SECRET_KEY, job
from tests.support.receivers import run_receiver, saying
from tests.unit.test_addresses import BLOCKS, ODD_LOOPBACKS, addresses_in

MANNER = plain([SECRET])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOT_ALLOWED = "address not allowed"
#: This machine has all of 127.0.0.0/8; of it the tests allow one address.
ALLOWED = "127.0.0.1"
OTHER = "127.0.0.2"


def settings(**knobs):
    return Settings(
        secret_key=SECRET_KEY,
        **{
            "environment": "development",
            "delivery_allowed_cidrs": f"{ALLOWED}/32",
            "delivery_dns_cache_seconds": 0,
            **knobs,
        },
    )


def production(**knobs):
    return Settings(secret_key=SECRET_KEY, **knobs)


PUBLIC_ONLY = guard_of(production())


class Names(AbstractResolver):
    """A name server that gives its answers one after the other, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        now = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in now
        ]

    async def close(self) -> None:
        pass


async def attempt(sender: Sender, url: str, **fields) -> Verdict:
    return await sender.attempt(job(url, b"{}", **fields), b"{}", MANNER, lease_id="l")


def refused(verdict: Verdict) -> None:
    """Check that this was a failed attempt that tells nothing of what was found."""
    assert verdict.sent
    assert verdict.status is None
    assert verdict.error == NOT_ALLOWED
    assert verdict.body == b""
    assert verdict.headers is None


# --- the rule ------------------------------------------------------------------------


def carries(guard: Guard, address: object, port: int = 443) -> bool:
    try:
        guard.check(str(address), port)
    except Forbidden:
        return False
    return True


def embeddings(address: IPv4Address) -> list[IPv6Address]:
    low = int(address)
    return [
        IPv6Address(low),  # compatible
        IPv6Address(0xFFFF << 32 | low),  # mapped
        IPv6Address(0xFFFF << 48 | low),  # translated (SIIT)
        IPv6Address(0x5EFE << 32 | low),  # ISATAP, in ::/8
        IPv6Address(0x0064_FF9B << 96 | low),  # NAT64
        IPv6Address(0x0064_FF9B_0001 << 80 | low),  # NAT64 of a network's own
        IPv6Address(0x2002 << 112 | low << 80),  # 6to4
        IPv6Address(0x2001_0000 << 96 | low << 64),  # Teredo's server
        IPv6Address(0x2001_0000 << 96 | low ^ 0xFFFF_FFFF),  # Teredo's client
    ]


@given(st.sampled_from(BLOCKS).flatmap(addresses_in))
def test_nothing_leads_into_a_forbidden_block(address):
    assert not carries(PUBLIC_ONLY, address)
    if isinstance(address, IPv4Address):
        assert not any(carries(PUBLIC_ONLY, each) for each in embeddings(address))
    else:
        assert not carries(PUBLIC_ONLY, address.exploded)


@given(st.ip_addresses(v=4).filter(lambda address: not is_special(address)))
def test_a_public_address_is_carried_to_also_through_nat64(address):
    carried = [each for each in embeddings(address) if carries(PUBLIC_ONLY, each)]

    assert carries(PUBLIC_ONLY, address)
    assert carried == [IPv6Address(0x0064_FF9B << 96 | int(address))]


@given(addresses_in("2600::/12") | addresses_in("2a00::/12"))
def test_a_public_v6_address_is_carried_to(address):
    assert carries(PUBLIC_ONLY, address)


@pytest.mark.parametrize("text", ["fe80::1%2", "", "localhost", "1.1.1", "1.1.1.1/32"])
def test_what_is_no_address_for_everybody_is_not_carried_to(text):
    assert not carries(PUBLIC_ONLY, text)


@given(st.integers(1, 65535))
def test_ports_are_those_of_http_and_from_1024_on_but_for_some(port):
    good = port in {80, 443} or (port >= 1024 and port not in production().denied_ports)

    assert carries(PUBLIC_ONLY, "1.1.1.1", port) == good


@pytest.mark.parametrize(
    "port",
    [22, 25, 2375, 2379, 4222, 5432, 6379, 6443, 8222, 9200, 10250],
)
def test_no_webhook_is_for_a_database(port):
    assert not carries(PUBLIC_ONLY, "1.1.1.1", port)


def test_the_operator_denies_other_ports():
    guard = guard_of(production(delivery_denied_ports="8443, 9000"))

    assert carries(guard, "1.1.1.1", 5432)
    assert not carries(guard, "1.1.1.1", 8443)


def test_the_operator_allows_blocks_but_not_their_ports():
    guard = guard_of(production(delivery_allowed_cidrs="10.1.0.0/16, fd00:1::/32"))

    assert carries(guard, "10.1.2.3")
    assert carries(guard, "fd00:1::1")
    assert not carries(guard, "10.2.0.1")
    assert not carries(guard, "10.1.2.3", 5432)
    assert not carries(guard, "10.1.2.3", 22)
    assert not carries(guard, "::ffff:10.1.2.3")


def test_development_reaches_private_networks_at_any_port_but_no_metadata():
    guard = guard_of(Settings(secret_key=SECRET_KEY, environment="development"))

    for address in ("127.0.0.1", "::1", "10.0.0.1", "172.17.0.2", "192.168.1.1"):
        assert carries(guard, address, 22)
    assert not carries(guard, "169.254.169.254", 80)
    assert not carries(guard, "1.1.1.1", 22)


@pytest.mark.parametrize(
    "knobs",
    [
        {"delivery_allowed_cidrs": "10.1.2.3/8"},
        {"delivery_allowed_cidrs": "here"},
        {"delivery_denied_ports": "http"},
        {"delivery_denied_ports": "0"},
        {"delivery_denied_ports": "65536"},
    ],
    ids=repr,
)
def test_what_is_no_block_and_no_port_stops_the_start(knobs):
    with pytest.raises(ValidationError):
        production(**knobs)


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "postgres.default.svc",
        "postgres.default.svc.cluster.local",
        "postgres",
        "2130706433",
    ],
)
def test_names_of_this_house_are_not_even_asked_for(name):
    with pytest.raises(Forbidden):
        PUBLIC_ONLY.check_name(name)


# --- connections ---------------------------------------------------------------------


async def test_the_checked_address_is_connected_to_under_its_name():
    names = Names([ALLOWED])
    async with (
        run_receiver(saying(OK)) as receiver,
        open_sender(settings(), names=names) as sender,
    ):
        verdict = await attempt(sender, f"http://a.example:{receiver.port}/hook")

    (head,) = receiver.heads
    assert verdict.status == 200
    assert f"\r\nHost: a.example:{receiver.port}\r\n".encode() in head
    # No search domain of this machine gets in.
    assert names.asked == ["a.example."]


@pytest.mark.parametrize(
    "answers",
    [
        [OTHER],
        [ALLOWED, OTHER],
        [OTHER, ALLOWED],
        [ALLOWED, "::1"],
        [ALLOWED, "169.254.169.254"],
        [f"::ffff:{ALLOWED}"],
        ["64:ff9b::a00:1"],
        ["168.63.129.16", ALLOWED],
        ["fe80::1%lo", ALLOWED],
    ],
    ids=repr,
)
async def test_one_bad_answer_is_enough(answers):
    async with (
        run_receiver(saying(OK)) as receiver,
        open_sender(settings(), names=Names(answers)) as sender,
    ):
        refused(await attempt(sender, f"http://a.example:{receiver.port}/"))

    assert receiver.connections == 0


async def test_a_name_that_has_no_address():
    async with open_sender(settings(), names=Names([])) as sender:
        verdict = await attempt(sender, "http://a.example/")

    assert verdict.error == "name not resolved"


async def test_a_name_that_changes_its_mind_is_asked_once_and_refused_later():
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    names = Names([ALLOWED], [OTHER], [ALLOWED])
    async with (
        run_receiver(saying(closing)) as receiver,
        open_sender(settings(), names=names) as sender,
    ):
        url = f"http://a.example:{receiver.port}/"
        assert (await attempt(sender, url)).status == 200
        assert len(names.asked) == 1
        refused(await attempt(sender, url))
        assert (await attempt(sender, url)).status == 200

    assert receiver.connections == 2


async def test_a_connection_that_was_checked_is_used_again():
    names = Names([ALLOWED], [OTHER])
    async with (
        run_receiver(saying(OK)) as receiver,
        open_sender(settings(), names=names) as sender,
    ):
        for _ in range(3):
            verdict = await attempt(
                sender, f"http://a.example:{receiver.port}/", method="GET"
            )
            assert verdict.status == 200

    assert receiver.connections == 1
    assert len(names.asked) == 1


@pytest.mark.parametrize(
    "host", [OTHER, "[::1]", f"[::ffff:{ALLOWED}]", "①②⑦.0.0.2", "127。0。0。2"]
)
async def test_a_literal_address_is_judged_when_it_is_connected_to(host):
    with socket.create_server(("", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        async with open_sender(settings()) as sender:
            refused(await attempt(sender, f"http://{host}:{port}/"))
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("host", ODD_LOOPBACKS)
async def test_odd_spellings_lead_nowhere(host):
    async with open_sender(settings()) as sender:
        refused(await attempt(sender, f"http://{host}/"))


async def test_this_machines_own_names_are_judged_by_their_addresses():
    async with (
        run_receiver(saying(OK)) as receiver,
        open_sender(settings(delivery_allowed_cidrs="10.0.0.0/8")) as sender,
    ):
        refused(await attempt(sender, f"http://localhost:{receiver.port}/"))

    assert receiver.connections == 0


async def test_production_connects_into_an_allowed_block_and_says_the_name():
    said: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        said.append(await reader.read(4096))
        raise ConnectionError

    knobs = production(delivery_allowed_cidrs=f"{ALLOWED}/32")
    async with (
        run_receiver(greet, listens=False) as receiver,
        open_sender(knobs, names=Names([ALLOWED])) as sender,
    ):
        verdict = await attempt(sender, f"https://a.example:{receiver.port}/")

    # The name in the greeting of TLS (SNI) is in clear.
    assert verdict.error != NOT_ALLOWED
    assert b"a.example" in said[0]


@pytest.mark.parametrize("port", [22, 5432])
async def test_production_keeps_to_its_ports(port):
    knobs = production(delivery_allowed_cidrs=f"{ALLOWED}/32")
    async with open_sender(knobs, names=Names([ALLOWED])) as sender:
        refused(await attempt(sender, f"https://a.example:{port}/"))


async def test_the_system_takes_odd_spellings_and_its_answers_are_addresses():
    async with open_resolver() as resolver:
        for host in ODD_LOOPBACKS:
            answers = await resolver.resolve(host, 443)
            assert {answer["host"] for answer in answers} == {"127.0.0.1"}
            assert not any(carries(PUBLIC_ONLY, each["host"]) for each in answers)


def test_ipaddress_alone_would_let_some_through():
    assert ipaddress.ip_address("168.63.129.16").is_global
    assert not carries(PUBLIC_ONLY, "168.63.129.16")
