"""Who a client is, and how much it may ask."""

import asyncio

import pytest

from libs.common.errors import RateLimited
from services.ingest.allowances import Rate
from services.ingest.strangers import Strangers, client_of

PEER = "198.51.100.7"


def test_the_client_is_who_connected_whatever_it_says_of_itself():
    assert client_of(PEER, forwarded=["192.0.2.1"]) == PEER
    assert client_of(None) == "unknown"
    assert client_of("@") == "unknown"


@pytest.mark.parametrize(
    ("forwarded", "hops", "client"),
    [
        (["192.0.2.1"], 1, "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1"], 1, "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1"], 2, "203.0.113.9"),
        (["203.0.113.9", "192.0.2.1"], 2, "203.0.113.9"),
        (["203.0.113.9", "192.0.2.1, 192.0.2.2"], 2, "192.0.2.1"),
        (["192.0.2.1"], 2, PEER),
        ([], 1, PEER),
        (["nonsense"], 1, PEER),
        (["192.0.2.1:4711"], 1, "192.0.2.1"),
        (['"[2001:db8::1]:4711"'], 1, "2001:db8::/64"),
    ],
)
def test_proxies_are_believed_as_far_as_there_are_any(forwarded, hops, client):
    assert client_of(PEER, forwarded=forwarded, hops=hops) == client


def test_the_trusted_header_goes_before_the_others():
    def client(named):
        return client_of(PEER, named=named, forwarded=["192.0.2.1"], hops=1)

    assert client("192.0.2.5") == "192.0.2.5"
    assert client("?") == "192.0.2.1"


def test_a_customer_of_ipv6_is_one_client():
    assert client_of("2001:db8:0:1:a::1") == client_of("2001:db8:0:1:b::2")
    assert client_of("2001:db8:0:1::1") != client_of("2001:db8:0:2::1")
    assert client_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert client_of("fe80::1%eth0") == "fe80::/64"


async def test_a_burst_passes_and_then_what_grows_back():
    strangers, rate = Strangers(), Rate("ip", "one", 3, 100.0)
    left = [strangers.admit(rate).remaining for _ in range(3)]

    assert left == [2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        strangers.admit(rate)
    assert 0 < refused.value.retry_after_seconds <= 0.011
    assert refused.value.limit == 3
    assert strangers.admit(Rate("ip", "other", 3, 100.0)).remaining == 2
    await asyncio.sleep(0.012)
    assert strangers.admit(rate).remaining == 0


async def test_what_is_remembered_is_bounded():
    strangers = Strangers(known_max=10)

    for number in range(100):
        strangers.admit(Rate("ip", f"client {number}", 1, 0.001))
    assert len(strangers._spent_until) == 10
    with pytest.raises(RateLimited):
        strangers.admit(Rate("ip", "client 99", 1, 0.001))
