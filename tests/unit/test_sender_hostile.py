"""The sender against receivers that mean harm: each is a failed attempt, and no more.

What is here is about one at a time; that nobody else suffers is in
``tests/system/test_hostile_neighbours.py``.
"""

import asyncio
import resource

import pytest

from libs.common.messages import Verdict
from services.delivery.answer import KEPT_BYTES_MAX
from services.delivery.manners import plain
from services.delivery.sender import Sender, open_sender
from services.delivery.settings import Settings
from tests.support.delivery import SECRET, SECRET_KEY, job
from tests.support.hostile import (
    BOMB,
    CAPPED,
    HOSTILE,
    MALFORMED,
    OK,
    run_hostile,
    saying,
    url_of,
    without_end,
)
from tests.support.receivers import run_receiver

MANNER = plain([SECRET])


@pytest.fixture
async def sender():
    knobs = Settings(
        secret_key=SECRET_KEY,
        environment="development",
        delivery_connect_timeout_seconds=0.5,
    )
    async with open_sender(knobs) as sender:
        yield sender


async def attempt(sender: Sender, url: str, body: bytes = b"{}", **fields) -> Verdict:
    return await sender.attempt(
        job(url, body, **fields), body, MANNER, lease_id="lease-1"
    )


def used_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("name", HOSTILE)
async def test_whoever_means_harm_is_a_failed_attempt(sender, name):
    hostile = HOSTILE[name]
    async with run_hostile(name) as receiver:
        url = url_of(name, receiver.port)
        before = used_seconds()
        verdict = await attempt(sender, url, timeout_seconds=1)
        print(
            f"{name}: {verdict.error or verdict.status}, {verdict.duration_ms:.0f} ms,"
            f" {1000 * (used_seconds() - before):.0f} ms of processor"
        )
        await asyncio.wait_for(receiver.closed.wait(), 5)
        # What was malformed or too long is never talked to again on the same line.
        await attempt(sender, url, timeout_seconds=0.3)

    assert verdict.sent
    if verdict.status is None:
        assert verdict.error is not None
        assert verdict.error.startswith(hostile.ends), verdict.error
        assert "127.0.0.1" not in verdict.error
        assert (verdict.body, verdict.headers) == (b"", None)
    else:
        assert CAPPED in hostile.ends
        assert verdict.status == hostile.status
        assert len(verdict.body) <= KEPT_BYTES_MAX
    assert receiver.connections == 2


async def test_nothing_that_was_packed_is_unpacked(sender):
    async with run_hostile("a bomb") as receiver:
        verdict = await attempt(sender, receiver.url)

    assert len(BOMB) > KEPT_BYTES_MAX
    assert verdict.body == BOMB[:KEPT_BYTES_MAX]


async def test_an_answer_to_nothing_is_not_taken_for_the_next_one(sender):
    async with run_hostile("two answers to one question") as receiver:
        first = await attempt(sender, receiver.url)
        await asyncio.sleep(0.15)
        second = await attempt(sender, receiver.url)

    assert (first.body, second.body) == (b"one", b"one")
    assert receiver.connections == 2


@pytest.mark.parametrize("pause_seconds", [None, 0.03])
@pytest.mark.parametrize(
    "more",
    [OK + b"Content-Length: 3\r\n\r\ntwo", OK, b"HTTP/1.1 2", b"\r\n", b"x"],
    ids=repr,
)
async def test_what_comes_behind_an_answer_is_never_a_part_of_the_next(
    sender, more, pause_seconds
):
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 3\r\n\r\none")
        if pause_seconds:
            await writer.drain()
            await asyncio.sleep(pause_seconds)
        writer.write(more)

    async with run_receiver(talk) as receiver:
        for _ in range(3):
            verdict = await attempt(sender, receiver.url, b"", method="GET")
            # At once, it may make a mess of the answer itself.
            assert verdict.body == b"one" or (pause_seconds, verdict.error) == (
                None,
                MALFORMED,
            )
            await asyncio.sleep(0.1)

    if pause_seconds:
        assert receiver.connections == 3


async def test_some_interim_answers_are_no_harm_and_more_are(sender):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answer = OK + b"Content-Length: 2\r\n\r\nok"

    async with run_receiver(saying(interim * 16 + answer, close=False)) as receiver:
        for _ in range(3):
            verdict = await attempt(sender, receiver.url, b"", method="GET")
            assert (verdict.status, verdict.body) == (200, b"ok")
    assert receiver.connections == 1

    async with run_receiver(saying(interim * 17 + answer, close=False)) as receiver:
        verdict = await attempt(sender, receiver.url, b"", method="GET")
        assert verdict.error == MALFORMED


async def test_what_is_said_without_end_costs_little(sender):
    """What is read of it is bounded, and not only how long it is read."""
    said = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n1;")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            said += 65536
            await asyncio.sleep(0)

    async with run_receiver(flood) as receiver:
        verdict = await attempt(sender, receiver.url, timeout_seconds=5)
        await asyncio.wait_for(receiver.closed.wait(), 5)

    assert verdict.error is not None
    assert verdict.duration_ms < 4000
    # One megabyte was read; the kernel's buffers took the rest.
    assert said < 50 * 1024 * 1024


async def test_a_healthy_receiver_on_the_same_line_of_work_is_not_disturbed(sender):
    """Its connection is kept through all of it."""
    async with run_receiver(
        saying(OK + b"Content-Length: 2\r\n\r\nok", close=False)
    ) as healthy:
        for name in ("body without end", "interim answers without end", "noise"):
            async with run_hostile(name) as receiver:
                await attempt(sender, receiver.url, timeout_seconds=1)
            verdict = await attempt(sender, healthy.url, b"", method="GET")
            assert (verdict.status, verdict.body) == (200, b"ok")

    assert healthy.connections == 1


async def test_a_body_that_nobody_takes_is_given_up(sender):
    async with run_receiver(without_end(b"", b"")) as receiver:
        verdict = await attempt(
            sender, receiver.url, b"x" * 1024 * 1024, timeout_seconds=0.3
        )

    assert verdict.error == "timeout after 0.3 s"
