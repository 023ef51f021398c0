"""Loops take turns, forgive what passes, and hear the bell and the stop signal."""

import asyncio

import pytest

from libs.common.errors import Unavailable
from libs.common.loops import Doorbell, every, on_bell, pause

#: Longer than any test may take: who waits for so long was not woken.
FOREVER = 3600.0
#: What a turn says that did not get to the end.
MORE = True


@pytest.fixture
def stopping():
    return asyncio.Event()


@pytest.fixture(autouse=True)
async def nobody_sleeps_through():
    async with asyncio.timeout(10):
        yield


async def soon():
    for _ in range(10):
        await asyncio.sleep(0)


class Turns:
    """A turn that does what it is told, one word a turn, and then nothing."""

    def __init__(self, *words, stopping=None, stop_after=None):
        self.taken = 0
        self._words = list(words)
        self._stopping = stopping
        self._stop_after = stop_after

    async def __call__(self):
        self.taken += 1
        if self.taken == self._stop_after:
            self._stopping.set()
        word = self._words.pop(0) if self._words else False
        if isinstance(word, Exception):
            raise word
        return word


async def test_a_pause_ends_by_itself():
    await pause(0.001, asyncio.Event())


async def test_a_pause_ends_with_any_of_its_events():
    one, other = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().call_soon(other.set)

    await pause(FOREVER, one, other)

    assert not one.is_set()


async def test_a_pause_for_what_has_happened_is_none(stopping):
    stopping.set()

    await pause(FOREVER, asyncio.Event(), stopping)


async def test_a_pause_leaves_nobody_behind():
    event = asyncio.Event()
    await pause(0.001, event)
    await soon()

    assert len(asyncio.all_tasks()) == 1


async def test_a_ring_wakes_who_waits(stopping):
    bell = Doorbell(stopping)
    waiting = asyncio.create_task(bell.wait(at_most=FOREVER))
    await soon()

    bell.ring()

    await waiting


async def test_rings_while_nobody_waits_are_remembered_as_one(stopping):
    bell = Doorbell(stopping)
    bell.ring()
    bell.ring()

    await bell.wait(at_most=FOREVER)

    waiting = asyncio.create_task(bell.wait(at_most=FOREVER))
    await soon()
    assert not waiting.done()
    stopping.set()
    await waiting


async def test_turns_are_taken_while_there_is_more(stopping):
    turns = Turns(MORE, MORE, MORE, stopping=stopping, stop_after=4)

    await on_bell(
        turns, bell=Doorbell(stopping), poll_seconds=FOREVER, stopping=stopping
    )

    assert turns.taken == 4


async def test_the_bell_brings_the_next_turn(stopping):
    bell, turns = Doorbell(stopping), Turns(stopping=stopping, stop_after=2)
    loop = asyncio.create_task(
        on_bell(turns, bell=bell, poll_seconds=FOREVER, stopping=stopping)
    )
    await soon()
    assert turns.taken == 1

    bell.ring()

    await loop
    assert turns.taken == 2


async def test_a_ring_during_a_turn_is_not_lost(stopping):
    bell, taken = Doorbell(stopping), []

    async def turn():
        taken.append(1)
        if len(taken) == 1:
            bell.ring()
        else:
            stopping.set()
        return False

    await on_bell(turn, bell=bell, poll_seconds=FOREVER, stopping=stopping)

    assert len(taken) == 2


async def test_nobody_needs_to_ring(stopping):
    """Hints get lost."""
    turns = Turns(stopping=stopping, stop_after=3)

    await on_bell(turns, bell=Doorbell(stopping), poll_seconds=0.001, stopping=stopping)

    assert turns.taken == 3


async def test_who_is_told_to_stop_takes_no_turn(stopping):
    stopping.set()
    turns = Turns()

    await on_bell(
        turns, bell=Doorbell(stopping), poll_seconds=FOREVER, stopping=stopping
    )
    await every(FOREVER, turns, stopping=stopping)

    assert turns.taken == 0


async def test_what_passes_costs_a_turn_and_a_wait(stopping):
    turns = Turns(Unavailable("postgres"), stopping=stopping, stop_after=2)
    bell = Doorbell(stopping)
    loop = asyncio.create_task(
        on_bell(turns, bell=bell, poll_seconds=FOREVER, stopping=stopping)
    )
    await soon()
    # It does not try again at once.
    assert turns.taken == 1

    bell.ring()

    await loop
    assert turns.taken == 2


async def test_a_bug_ends_the_loop(stopping):
    with pytest.raises(ZeroDivisionError):
        await on_bell(
            Turns(MORE, ZeroDivisionError()),
            bell=Doorbell(stopping),
            poll_seconds=FOREVER,
            stopping=stopping,
        )
    with pytest.raises(ZeroDivisionError):
        await every(FOREVER, Turns(ZeroDivisionError()), stopping=stopping)


async def test_every_so_often_a_turn_whatever_passes(stopping):
    turns = Turns(Unavailable("nats"), MORE, stopping=stopping, stop_after=4)

    await every(0.001, turns, stopping=stopping)

    assert turns.taken == 4


async def test_who_sleeps_between_turns_hears_the_stop_signal(stopping):
    turns = Turns()
    loop = asyncio.create_task(every(FOREVER, turns, stopping=stopping))
    await soon()

    stopping.set()

    await loop
    assert turns.taken == 1
