"""The guard and its resolver by themselves: blocks, reasons, and what is counted."""

import ipaddress
import socket
from contextlib import AsyncExitStack

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.delivery.guard import Forbidden, GuardedResolver, guard_of
from services.delivery.manners import plain
from services.delivery.metrics import Blocked
from services.delivery.sender import open_sender
from services.delivery.settings import Settings
from tests.support.delivery import SECRET, SECRET_KEY, job
from tests.support.receivers import run_receiver, saying
from tests.unit.test_addresses import addresses_in

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#: Where clouds keep what nobody else may read.
METADATA = [
    "169.254.169.254",  # AWS, Google, Azure, and most others
    "169.254.170.2",  # AWS ECS
    "169.254.170.23",  # AWS EKS
    "fd00:ec2::254",
    "fd00:ec2::23",
    "168.63.129.16",  # Azure
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle
]


def guard(**knobs):
    return guard_of(Settings(secret_key=SECRET_KEY, **knobs))


def carries(guard_, address, port=443):
    try:
        guard_.check(str(address), port)
    except Forbidden:
        return False
    return True


def counted(metric, **labels):
    return REGISTRY.get_sample_value(metric, labels) or 0.0


class Names(AbstractResolver):
    """A name server with one list of addresses for every name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


# --- addresses -----------------------------------------------------------------------


@pytest.mark.parametrize("address", METADATA)
def test_nobody_reads_the_metadata_of_a_cloud(address):
    assert not carries(guard(), address)
    assert not carries(guard(), address, 80)
    if "." in address:
        assert not carries(guard(), f"64:ff9b::{address}")
        assert not carries(guard(), f"::ffff:{address}")


@pytest.mark.parametrize("address", METADATA[:4])
def test_not_even_in_development(address):
    assert not carries(guard(environment="development"), address) or ":" in address


@given(st.ip_addresses())
def test_what_python_calls_special_is_not_carried_to(address):
    """Not the other way round: it calls too much global."""
    translated = address in ipaddress.ip_network("64:ff9b::/96")
    special = (
        not address.is_global
        or address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )
    if special and not translated:
        assert not carries(guard(), address)


@given(st.ip_addresses(v=6))
def test_of_ipv6_only_global_unicast_is_carried_to(address):
    if carries(guard(), address):
        assert address in ipaddress.ip_network(
            "2000::/3"
        ) or address in ipaddress.ip_network("64:ff9b::/96")


@given(
    st.sampled_from(["8.8.8.0/24", "2a00::/16"]).flatmap(addresses_in),
)
def test_the_operator_denies_what_is_ordinary_also_when_it_is_translated(address):
    knobs = {"delivery_denied_cidrs": "8.8.8.0/24, 2a00::/16"}

    assert carries(guard(), address)
    assert not carries(guard(**knobs), address)
    assert carries(guard(**knobs), "8.8.9.8")
    if address.version == 4:
        assert carries(guard(), f"64:ff9b::{address}")
        assert not carries(guard(**knobs), f"64:ff9b::{address}")


def test_what_is_denied_is_not_carried_to_although_it_is_allowed():
    knobs = {
        "delivery_allowed_cidrs": "10.0.0.0/8",
        "delivery_denied_cidrs": "10.96.0.0/12",
    }

    assert carries(guard(**knobs), "10.1.2.3")
    assert not carries(guard(**knobs), "10.96.0.1")
    assert not carries(guard(environment="development", **knobs), "10.96.0.1")


# --- names ---------------------------------------------------------------------------


async def test_all_addresses_of_a_name_are_judged_and_few_are_tried():
    many = [f"8.8.{i}.8" for i in range(100)]

    answers = await GuardedResolver(Names(*many), guard()).resolve("a.example", 443)
    assert [answer["host"] for answer in answers] == many[:8]

    with pytest.raises(Forbidden):
        await GuardedResolver(Names(*many, "10.0.0.1"), guard()).resolve("a.example")


@pytest.mark.parametrize(
    "name",
    ["a.localdomain", "kubernetes.default.svc", "db.internal", "router.home.arpa"],
)
async def test_a_name_of_this_house_is_not_even_asked_for(name):
    names = Names("8.8.8.8")

    with pytest.raises(Forbidden):
        await GuardedResolver(names, guard()).resolve(name, 443)

    assert names.asked == []


async def test_a_name_is_asked_for_as_a_whole():
    """No search domain of a cluster makes another name of it."""
    names = Names("8.8.8.8")

    await GuardedResolver(names, guard()).resolve("hooks.example", 443)

    assert names.asked == ["hooks.example."]


# --- connections ---------------------------------------------------------------------


async def test_no_proxy_of_the_environment_gets_in_between(monkeypatch):
    def settings():
        return Settings(secret_key=SECRET_KEY, environment="development")

    async with (
        run_receiver(saying(OK)) as proxy,
        run_receiver(saying(OK)) as receiver,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        async with open_sender(settings()) as sender:
            verdict = await sender.attempt(
                job(receiver.url), b"{}", plain([SECRET]), lease_id="l"
            )

    assert verdict.status == 200
    assert (proxy.connections, receiver.connections) == (0, 1)


async def test_addresses_that_are_remembered_are_judged_again(monkeypatch):
    """What the cache of names holds is no permission."""
    judged: list[str] = []
    allowed = guard(environment="development")
    names = Names("127.0.0.1")
    knobs = Settings(
        secret_key=SECRET_KEY,
        environment="development",
        delivery_dns_cache_seconds=3600,
    )
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with (
        run_receiver(saying(closing)) as receiver,
        open_sender(knobs, names=names) as sender,
    ):
        dialer = sender._exchange._dialer

        class Judging:
            def open_socket(self, info):
                judged.append(info[4][0])
                return allowed.open_socket(info)

        monkeypatch.setattr(dialer, "_guard", Judging())
        for _ in range(3):
            url = f"http://a.example:{receiver.port}/"
            verdict = await sender.attempt(
                job(url), b"{}", plain([SECRET]), lease_id="l"
            )
            assert verdict.status == 200

    assert len(names.asked) == 1
    assert judged == ["127.0.0.1"] * 3


# --- what is counted -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "reason", "knobs"),
    [
        ("http://10.0.0.1/", Blocked.URL, {}),
        ("http://169.254.169.254/", Blocked.ADDRESS, {"environment": "development"}),
        ("https://a.example/", Blocked.ADDRESS, {}),
        (
            "https://a.example:22/",
            Blocked.PORT,
            {"delivery_allowed_cidrs": "10.0.0.0/8"},
        ),
    ],
)
async def test_what_is_refused_is_counted_by_its_reason(url, reason, knobs):
    before = counted("bellhop_ssrf_blocked_total", reason=reason)
    async with open_sender(
        Settings(secret_key=SECRET_KEY, **knobs), names=Names("10.0.0.1")
    ) as sender:
        verdict = await sender.attempt(
            job(url), b"{}", plain([SECRET]), lease_id="lease-1"
        )

    assert verdict.error == "address not allowed"
    assert counted("bellhop_ssrf_blocked_total", reason=reason) == before + 1


def test_a_refused_name_is_counted():
    before = counted("bellhop_ssrf_blocked_total", reason="name")

    with pytest.raises(Forbidden):
        guard().check_name("localhost")

    assert counted("bellhop_ssrf_blocked_total", reason="name") == before + 1


async def test_connections_are_counted_by_whether_they_were_there_already():
    def numbers():
        return [
            counted("bellhop_outbound_connections_total", reused="false"),
            counted("bellhop_outbound_connections_total", reused="true"),
            counted("bellhop_ssrf_allowed_total"),
        ]

    before = numbers()
    knobs = Settings(secret_key=SECRET_KEY, environment="development")
    async with run_receiver(saying(OK)) as receiver, open_sender(knobs) as sender:
        for _ in range(5):
            await sender.attempt(
                job(receiver.url, b"", method="GET"),
                b"",
                plain([SECRET]),
                lease_id="l",
            )

    grown = [now - then for now, then in zip(numbers(), before, strict=True)]
    assert grown == [1, 4, 1]
    assert receiver.connections == 1


async def test_idle_connections_are_bounded_and_the_oldest_go():
    knobs = Settings(
        secret_key=SECRET_KEY,
        environment="development",
        delivery_idle_connections_max=8,
    )
    talk = saying(OK)
    async with open_sender(knobs) as sender:

        async def attempt(receiver):
            verdict = await sender.attempt(
                job(receiver.url, b"", method="GET"),
                b"",
                plain([SECRET]),
                lease_id="l",
            )
            assert verdict.status == 200

        async with AsyncExitStack() as stack:
            receivers = [
                await stack.enter_async_context(run_receiver(talk)) for _ in range(12)
            ]
            for receiver in receivers:
                await attempt(receiver)
            # The last ones are kept, and no others.
            for receiver in receivers[:3:-1]:
                await attempt(receiver)
                assert receiver.connections == 1
            for receiver in receivers[:4]:
                await attempt(receiver)
                assert receiver.connections == 2
