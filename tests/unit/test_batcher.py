"""Callers of the same moment share one statement, and each gets its own answer."""

import asyncio
import gc
from contextlib import asynccontextmanager
from itertools import chain

import pytest

from libs.common.batcher import Batcher
from libs.common.errors import Fault, Malformed, Unavailable
from tests.support.waiting import until

UNSTORABLE = Malformed(Fault("payload", "cannot be stored"))


class Table:
    """What items are flushed to: remembers the batches, and waits while it is shut."""

    def __init__(self):
        self.batches = []
        self.under_way = self.under_way_most = 0
        self.refused = set()
        self.away_for = None
        self.error = None
        self._open = asyncio.Event()
        self._open.set()

    def shut(self):
        self._open.clear()

    def open(self):
        self._open.set()

    async def flush(self, items):
        self.batches.append(list(items))
        self.under_way += 1
        self.under_way_most = max(self.under_way, self.under_way_most)
        try:
            await self._open.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.away_for == items:
            raise Unavailable("postgres is away")
        if self.refused & set(items):
            raise UNSTORABLE
        return [f"stored {item}" for item in items]


@pytest.fixture
def table():
    return Table()


def batcher_of(table, *, batch_max=100, lanes=1):
    return Batcher("test", table.flush, batch_max=batch_max, lanes=lanes)


async def soon():
    """Let everybody who can run get as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def nobody_complains():
    """Fail when asyncio has something to say that nobody listened to."""
    said = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: said.append(context["message"])
    )
    yield
    gc.collect()
    await soon()
    assert said == []


async def test_who_comes_alone_is_carried_at_once(table):
    assert await batcher_of(table).put("a") == "stored a"
    assert table.batches == [["a"]]


async def test_who_comes_together_goes_together(table):
    batcher = batcher_of(table)

    answers = await asyncio.gather(*(batcher.put(n) for n in range(50)))

    assert answers == [f"stored {n}" for n in range(50)]
    assert table.batches == [list(range(50))]


async def test_who_comes_in_the_next_turns_goes_along_while_every_turn_brings_one(
    table,
):
    batcher = batcher_of(table)
    callers = []
    for n in range(8):
        callers.append(asyncio.create_task(batcher.put(n)))
        await asyncio.sleep(0)
    await asyncio.gather(*callers)
    assert table.batches == [list(range(8))]


async def test_nobody_waits_for_ever_because_others_keep_coming(table):
    batcher = batcher_of(table)
    callers: list[asyncio.Task[str]] = []
    while not table.batches:
        callers.append(asyncio.create_task(batcher.put(len(callers))))
        await asyncio.sleep(0)
    assert len(callers) < 50
    await asyncio.gather(*callers)


async def test_while_one_batch_is_under_way_the_next_one_gathers(table):
    batcher = batcher_of(table)
    table.shut()
    callers = []
    for n in range(20):
        callers.append(asyncio.create_task(batcher.put(n)))
        await soon()
    table.open()

    assert await asyncio.gather(*callers) == [f"stored {n}" for n in range(20)]
    assert table.batches == [[0], list(range(1, 20))]


async def test_where_many_come_during_a_batch_the_next_waits_for_more(table):
    batcher = batcher_of(table)
    table.shut()
    callers = [asyncio.create_task(batcher.put(0))]
    await asyncio.sleep(0.1)
    callers += [asyncio.create_task(batcher.put(n)) for n in range(1, 10)]
    await soon()
    table.open()
    await soon()
    assert table.batches == [[0]]
    callers += [asyncio.create_task(batcher.put(n)) for n in range(10, 20)]
    await asyncio.gather(*callers)

    assert table.batches == [[0], list(range(1, 20))]


async def test_where_few_come_during_a_batch_the_next_waits_for_nobody(table):
    batcher = batcher_of(table)
    table.shut()
    callers = [asyncio.create_task(batcher.put(0))]
    await soon()
    callers += [asyncio.create_task(batcher.put(n)) for n in range(1, 4)]
    await asyncio.sleep(0.1)
    table.open()
    await soon()

    assert table.batches == [[0], [1, 2, 3]]
    await asyncio.gather(*callers)


async def test_a_batch_has_its_limit(table):
    batcher = batcher_of(table, batch_max=7)

    answers = await batcher.put_all(range(20))

    assert answers == [f"stored {n}" for n in range(20)]
    assert [len(batch) for batch in table.batches] == [7, 7, 6]


async def test_so_many_batches_are_under_way_and_no_more(table):
    batcher = batcher_of(table, batch_max=1, lanes=3)
    table.shut()
    callers = [asyncio.create_task(batcher.put(n)) for n in range(9)]
    await until(lambda: table.under_way_most == 3)
    for n in range(9, 12):
        callers.append(asyncio.create_task(batcher.put(n)))
        await soon()
    table.open()
    await asyncio.gather(*callers)

    assert table.under_way_most == 3
    assert sorted(chain(*table.batches)) == list(range(12))


async def test_a_second_batch_waits_while_the_first_may_soon_be_back(table):
    batcher = batcher_of(table, lanes=2)
    table.shut()
    first = asyncio.create_task(batcher.put(0))
    await soon()
    others = [asyncio.create_task(batcher.put(n)) for n in range(1, 10)]
    await soon()
    assert table.under_way_most == 1
    table.open()
    await asyncio.gather(first, *others)

    assert table.batches == [[0], list(range(1, 10))]


async def test_a_slow_batch_holds_up_nobody(table):
    batcher = batcher_of(table, lanes=2)
    table.shut()
    callers = [asyncio.create_task(batcher.put(0))]
    await soon()
    callers.append(asyncio.create_task(batcher.put(1)))
    await until(lambda: table.under_way_most == 2)
    table.open()
    await asyncio.gather(*callers)


async def test_one_bad_item_spoils_nobody_elses(table):
    batcher = batcher_of(table)
    table.refused = {3}

    answers = await asyncio.gather(
        *(batcher.put(n) for n in range(6)), return_exceptions=True
    )

    assert answers[3] is UNSTORABLE
    assert answers[:3] + answers[4:] == [f"stored {n}" for n in (0, 1, 2, 4, 5)]


async def test_an_outage_reaches_everybody_and_the_next_batch_is_carried(table):
    batcher = batcher_of(table)
    table.error = Unavailable("postgres is away")

    answers = await asyncio.gather(
        *(batcher.put(n) for n in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [Unavailable] * 3
    # Nobody tried them one by one: that would not help.
    assert table.batches == [[0, 1, 2]]
    assert await batcher.put(4) == "stored 4"


async def test_an_outage_while_trying_one_by_one_reaches_only_whom_it_hits(table):
    batcher = batcher_of(table)
    table.refused = {0}
    table.away_for = [1]

    answers = await asyncio.gather(
        *(batcher.put(n) for n in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [Malformed, Unavailable, str]


async def test_a_bug_reaches_its_callers_and_not_the_next_ones(table):
    batcher = batcher_of(table)
    table.error = ZeroDivisionError()

    async with nobody_complains():
        with pytest.raises(ZeroDivisionError):
            await batcher.put(1)
        assert await batcher.put(2) == "stored 2"
        await batcher.drain()


async def test_too_few_answers_leave_nobody_waiting():
    async def flush(items):
        return list(items)[1:]

    batcher = Batcher("test", flush, batch_max=10, lanes=1)
    async with nobody_complains(), asyncio.timeout(5):
        with pytest.raises(ValueError, match="shorter"):
            await batcher.put_all([1, 2, 3])
        await batcher.drain()


# --- cancellation ---------------------------------------------------------------------


async def test_who_gives_up_waiting_is_not_carried(table):
    batcher = batcher_of(table)
    table.shut()
    first = asyncio.create_task(batcher.put(1))
    await soon()
    second, third = (asyncio.create_task(batcher.put(n)) for n in (2, 3))
    await soon()
    second.cancel()
    await soon()
    table.open()

    assert [await first, await third] == ["stored 1", "stored 3"]
    assert table.batches == [[1], [3]]


async def test_who_gives_up_under_way_is_carried_all_the_same(table):
    batcher = batcher_of(table)
    table.shut()
    first, second = (asyncio.create_task(batcher.put(n)) for n in (1, 2))
    await soon()
    first.cancel()
    await soon()
    table.open()

    assert await second == "stored 2"
    assert first.cancelled()
    assert table.batches == [[1, 2]]


async def test_all_of_them_are_given_up_together(table):
    batcher = batcher_of(table)
    table.shut()
    first = asyncio.create_task(batcher.put(0))
    await soon()
    many = asyncio.create_task(batcher.put_all([1, 2, 3]))
    await soon()
    many.cancel()
    await soon()
    table.open()
    await first
    await batcher.drain()

    assert many.cancelled()
    assert table.batches == [[0]]


# --- many at once ---------------------------------------------------------------------


async def test_nothing_is_carried_for_nothing(table):
    assert await batcher_of(table).put_all([]) == []
    assert table.batches == []


async def test_the_first_error_is_raised_when_all_have_ended(table):
    batcher = batcher_of(table, batch_max=2)
    table.refused = {1, 4}

    async with nobody_complains():
        with pytest.raises(Malformed):
            await batcher.put_all(range(6))

    assert {5} < set(chain(*table.batches))


async def test_draining_waits_for_what_is_under_way_and_what_waits(table):
    batcher = batcher_of(table, batch_max=2)
    table.shut()
    callers = [asyncio.create_task(batcher.put(n)) for n in range(5)]
    await soon()
    draining = asyncio.create_task(batcher.drain())
    await soon()
    assert not draining.done()

    table.open()
    await asyncio.wait_for(draining, 5)

    assert all(caller.done() for caller in callers)
    await batcher.drain()


async def test_what_is_heavy_goes_in_batches_of_its_own(table):
    batcher = Batcher(
        "test", table.flush, batch_max=3, lanes=1, weigh=int, weight_max=10
    )

    await asyncio.gather(*(batcher.put(n) for n in (4, 6, 1, 12, 3, 2, 2, 2)))

    assert table.batches == [[4, 6], [1], [12], [3, 2, 2], [2]]


async def test_what_is_in_order_is_not_overtaken_by_its_own_rest(table):
    batcher = batcher_of(table, batch_max=4, lanes=3)
    table.shut()
    first = asyncio.create_task(batcher.put_all(["a", "b"]))
    row = asyncio.create_task(batcher.put_all([1, 2, 3, 4, 5], in_order=True))
    later = asyncio.create_task(batcher.put("z"))
    await until(lambda: table.batches)
    # Long enough for everybody to lose patience.
    await asyncio.sleep(0.05)
    assert table.batches == [["a", "b", 1, 2]]

    table.open()

    assert await row == [f"stored {n}" for n in (1, 2, 3, 4, 5)]
    await asyncio.gather(first, later)
    assert table.batches == [["a", "b", 1, 2], [3, 4, 5, "z"]]


async def test_a_row_that_fails_lets_others_go_on(table):
    batcher = batcher_of(table, batch_max=2, lanes=2)
    table.error = Unavailable("postgres is away")
    row = asyncio.create_task(batcher.put_all([1, 2, 3], in_order=True))

    with pytest.raises(Unavailable):
        await row

    assert await batcher.put("z") == "stored z"
    assert table.batches[:2] == [[1, 2], [3]]


async def test_what_has_no_order_goes_side_by_side(table):
    batcher = batcher_of(table, batch_max=2, lanes=2)
    table.shut()
    rows = asyncio.create_task(batcher.put_all([1, 2, 3]))
    await until(lambda: table.batches)
    later = asyncio.create_task(batcher.put("z"))

    await until(lambda: table.batches == [[1, 2], [3, "z"]])

    table.open()
    await asyncio.gather(rows, later)
