"""An actor that fails is started again; one that keeps failing ends the process."""

import asyncio

import pytest

import libs.common.actors
from libs.common.actors import keep
from libs.common.metrics import ACTOR_FAILURES
from tests.support.waiting import until


@pytest.fixture
def stopping():
    return asyncio.Event()


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    """Start again at once."""
    monkeypatch.setattr(libs.common.actors, "_RESTART_SECONDS_MAX", 0.0)


class Actor:
    """Fails so many times, and then returns."""

    def __init__(self, *, failures, error=ZeroDivisionError):
        self.runs = 0
        self._failures = failures
        self._error = error

    async def __call__(self):
        self.runs += 1
        if self.runs <= self._failures:
            raise self._error


def failures_of(name):
    return ACTOR_FAILURES.labels(actor=name)._value.get()


async def test_an_actor_that_returns_is_done(stopping):
    actor = Actor(failures=0)

    await keep("quiet", actor, stopping=stopping)

    assert actor.runs == 1
    assert failures_of("quiet") == 0


async def test_an_actor_that_fails_is_started_again_and_counted(stopping):
    actor = Actor(failures=3)

    await keep("clumsy", actor, stopping=stopping)

    assert actor.runs == 4
    assert failures_of("clumsy") == 3


async def test_an_actor_that_keeps_failing_ends_the_process(stopping):
    actor = Actor(failures=1000)

    with pytest.raises(ZeroDivisionError):
        await keep("hopeless", actor, stopping=stopping)

    assert actor.runs == 11


async def test_the_failures_of_an_actor_that_lived_are_forgotten(stopping, monkeypatch):
    monkeypatch.setattr(libs.common.actors, "_FORGET_AFTER_SECONDS", -1.0)
    actor = Actor(failures=50)

    await keep("old", actor, stopping=stopping)

    assert actor.runs == 51


async def test_who_fails_while_stopping_is_not_started_again(stopping):
    stopping.set()
    actor = Actor(failures=1)

    with pytest.raises(ZeroDivisionError):
        await keep("late", actor, stopping=stopping)

    assert actor.runs == 1


async def test_the_wait_before_a_restart_grows_and_hears_the_stop_signal(
    stopping, monkeypatch
):
    monkeypatch.setattr(libs.common.actors, "_RESTART_SECONDS_MAX", 3600.0)
    began = asyncio.get_running_loop().time()
    actor = Actor(failures=2)
    keeping = asyncio.create_task(keep("patient", actor, stopping=stopping))
    await until(lambda: actor.runs == 2)
    # The first restart came after 0.2 s; the second one is not waited for.
    assert asyncio.get_running_loop().time() - began >= 0.2

    stopping.set()

    await asyncio.wait_for(keeping, 0.3)
    assert actor.runs == 3


async def test_an_actor_that_is_cancelled_is_not_kept(stopping):

    async def wait():
        await asyncio.Event().wait()

    keeping = asyncio.create_task(keep("c", wait, stopping=stopping))
    await asyncio.sleep(0)
    keeping.cancel()

    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert failures_of("c") == 0
