"""Who is told the same is told at once: in order, once, in one piece, within bounds."""

import asyncio
import random
from contextlib import ExitStack, suppress

import pytest

from libs.common.errors import Forbidden
from services.streamer.frames import named, unnamed
from services.streamer.tidings import Tiding
from services.streamer.watcher import Watcher
from services.streamer.wishes import Topic, Wish
from tests.support.audience import (
    JOB,
    MAIL,
    Connection,
    changed,
    feed,
    hear,
    live,
    marks,
    principal,
    taken,
    watcher,
)


async def test_who_lets_too_much_wait_is_sent_away_and_nobody_else():
    house, slow, quick = feed(), watcher(bytes_max=600, is_read=False), watcher()
    with live(house, slow), live(house, quick):
        async with slow.presence(seconds_max=5):
            for number in range(1, 51):
                hear(house, changed(number=number))
                await house.tell()
            await asyncio.sleep(5)

        assert slow.ended_because == "slow"
        assert slow.farewell is not None
        assert len(await taken(house, slow)) < 5
        assert len(await taken(house, quick)) == 50


async def test_what_is_told_before_there_is_a_connection_waits_within_bounds():
    house, one = feed(), watcher()
    early, greedy = (
        Watcher(
            principal(),
            Wish(),
            door="sse",
            spell=unnamed,
            credential="sk_live_x",
            bytes_max=bytes_max,
        )
        for bytes_max in (10_000, 600)
    )
    with (
        live(house, one),
        live(house, early),
        live(house, greedy),
    ):
        hear(house, *(changed(number=number) for number in range(1, 11)))
        await house.tell()
        early.open(connection := Connection())

        assert connection.written == one.connection.written
        assert greedy.ended_because == "slow"


async def test_what_many_are_told_is_written_once_and_in_one_piece():
    house = feed(per_organization_max=4)
    alike, other = [watcher() for _ in range(3)], watcher(spell=named)
    with ExitStack() as seats:
        for one in (*alike, other):
            seats.enter_context(live(house, one))
        hear(house, changed(number=1), changed("completed", number=2))
        await house.tell()

        pieces = [one.connection.written for one in alike]
        assert [len(each) for each in pieces] == [1, 1, 1]
        assert len({id(piece) for [piece] in pieces}) == 1
        assert len(await taken(house, other)) == 3


async def test_who_comes_while_others_are_told_is_told_what_happens_from_then_on():
    house, early = feed(), watcher()
    with live(house, early):
        hear(house, changed(number=1))
        late = watcher()
        with live(house, late):
            hear(house, changed(number=2))

            assert await marks(house, early) == ["700-1", "700-2"]
            assert await marks(house, late) == ["700-2"]


async def test_a_mark_is_never_ahead_of_what_was_told():
    house, one, bored = feed(), watcher(), watcher(Wish(topics=frozenset({Topic("x")})))
    with live(house, one), live(house, bored):
        hear(house, changed(number=1))

        assert house.mark_of(one) == "700-0"
        # It is told nothing of that.
        assert house.mark_of(bored) == "700-1"
        await house.tell()
        assert house.mark_of(one) == "700-1"


async def test_who_asks_for_something_else_gets_first_what_it_had_asked_for():
    house, one = feed(), watcher(Wish(topics=MAIL))
    with live(house, one):
        hear(house, changed(number=1), changed(number=2, queue_name="letters"))
        with house.changing(one):
            one.widen(Topic("letters"))
        hear(house, changed(number=3), changed(number=4, queue_name="letters"))

        assert await marks(house, one) == ["700-1", "700-3", "700-4"]


async def test_a_key_that_is_limited_sees_less_from_then_on():
    house, one, whole = feed(), watcher(), watcher()
    with live(house, one), live(house, whole):
        house.renew(one, principal("letters"))
        hear(house, changed(number=1), changed(number=2, queue_name="letters"))

        assert await marks(house, one) == ["700-2"]
        assert await marks(house, whole) == ["700-1", "700-2"]


async def test_the_stream_of_a_job_ends_with_it():
    wish = Wish(topics=frozenset({Topic(None, JOB)}), until_end=True)
    house, one = feed(), watcher(wish)
    with live(house, one):
        hear(house, changed(number=1), changed("completed", number=2))

        assert await marks(house, one) == ["700-1", "700-2.1", "700-2"]
        assert one.ended_because == "complete"


QUEUES = ("mail", "letters", "parcels")


class Model:
    """A feed, and what each watcher is to be told by the letter."""

    def __init__(self, dice):
        self.dice = dice
        self.house = feed(per_organization_max=100, streams_max=100)
        self.number = 0
        self.watchers = {}
        self.expected = {}

    def come(self):
        wish = Wish(topics=frozenset(self.topics(self.dice.choice([0, 0, 1, 2]))))
        scope = self.dice.choice([(), (), ("mail", "letters")])
        one = watcher(wish, *scope, spell=self.dice.choice([unnamed, named]))
        seat = ExitStack()
        seat.enter_context(live(self.house, one))
        self.watchers[one], self.expected[one] = seat, []

    def topics(self, count):
        return [
            self.dice.choice([Topic(queue), Topic(queue, JOB), Topic(None, JOB)])
            for queue in self.dice.sample(QUEUES, count)
        ]

    def leave(self):
        if len(self.watchers) > 5:
            one = self.dice.choice(list(self.watchers))
            self.watchers.pop(one).close()
            # Nothing is written to it from now on.
            one.connection.written = tuple(one.connection.written)

    def happen(self):
        self.number += 1
        event = changed(
            number=self.number,
            queue_name=self.dice.choice(QUEUES),
            job_id=self.dice.choice([JOB, "another"]),
        )
        for one in self.watchers:
            if one.sees(Tiding(event)):
                self.expected[one].append(f"700-{self.number}")
        hear(self.house, event)

    def change(self):
        if not self.watchers:
            return
        one = self.dice.choice(list(self.watchers))
        with suppress(Forbidden), self.house.changing(one):
            for topic in self.topics(1):
                self.dice.choice([one.widen, one.narrow])(topic)

    def limit(self):
        if self.watchers:
            one = self.dice.choice(list(self.watchers))
            self.house.renew(one, principal(*one.principal.queues, "mail"))


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_comes_goes_and_changes_each_is_told_all_of_its_own_once(
    seed, monkeypatch
):
    """Also in between those who are told."""
    monkeypatch.setattr("services.streamer.feed._TOLD_AT_ONCE", 1)
    model = Model(dice := random.Random(seed))
    doings = [model.come, model.leave, model.change, model.limit]
    telling = asyncio.create_task(model.house.tell())
    for _ in range(600):
        dice.choice([model.happen] * 6 + doings)()
        if telling.done():
            telling.result()
            telling = asyncio.create_task(model.house.tell())
        if dice.random() < 0.7:
            await asyncio.sleep(0)
    await telling
    await model.house.tell()

    seen = 0
    for one, expected in model.expected.items():
        told = [
            line.removeprefix("id: ")
            for line in b"".join(one.connection.written).decode().splitlines()
            if line.startswith("id: ")
        ]
        # Who left need not have been told the last of it.
        assert told == (expected if one in model.watchers else expected[: len(told)])
        seen += len(told)
    assert seen > 200
    for seat in model.watchers.values():
        seat.close()
