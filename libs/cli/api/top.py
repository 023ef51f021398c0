"""``bellhop top``: how everything does, live, in a terminal."""

import asyncio
import importlib
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import click

from libs.cli.api.asking import api_command
from libs.cli.api.board import SHOWN_MAX, Board, Part
from libs.cli.api.client import Api, Refused, Unreachable, at
from libs.cli.api.stream import follow
from libs.cli.output import Output, cell
from libs.cli.settings import Unusable

_QUEUES_MAX: Final = 200
_ALL: Final = 2**31
#: How many requests there are at once.
_SIDE_BY_SIDE: Final = 8
#: How often it is looked whether something is to be read; what events moved, and what
#: they do not tell, is so after a while.
_LOOK_SECONDS: Final = 1.0
_MOVED_SECONDS: Final = 5.0
_STALE_SECONDS: Final = 30.0


@api_command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two pictures.",
)
async def top(api: Api, out: Output, *, interval: float) -> None:
    """Show queues, rates, workers and failing endpoints as they change; q quits.

    It follows the event stream, and goes on when Bellhop is away for a while, which the
    picture says. With --json a line is printed for each picture.
    """
    if not (out.as_json or (sys.stdout.isatty() and sys.stdin.isatty())):
        raise Unusable("top is for a terminal; programs say --json")
    board = Board()
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    await _read(api, board)
    async with asyncio.TaskGroup() as tasks:
        others = [
            tasks.create_task(_follow(api, board)),
            tasks.create_task(_keep_fresh(api, board)),
        ]
        with _keys(told, out), _screen(out) as draw:
            while not told.is_set():
                draw(board, api.access.url)
                try:
                    await asyncio.wait_for(told.wait(), interval)
                except TimeoutError:
                    continue
        for task in others:
            task.cancel()


async def _follow(api: Api, board: Board) -> None:
    """Note what happens, until cancelled.

    Everything is read anew when the stream breaks, to see whether anybody answers, and
    when it is open (again), since nobody told us of what happened before.
    """

    def read_anew(_: str = "") -> None:
        board.stale |= {*Part}

    async for frame in follow(
        api, "/events", params={}, say=read_anew, begun=read_anew, patient=True
    ):
        board.happened(frame)


async def _keep_fresh(api: Api, board: Board) -> None:
    """Read anew what is stale, until cancelled; while nobody answers, try again."""
    loop = asyncio.get_running_loop()
    moved_at = aged_at = loop.time()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if board.moved and loop.time() - moved_at > _MOVED_SECONDS:
            board.stale.add(Part.MOVED)
        if loop.time() - aged_at > _STALE_SECONDS:
            board.stale |= {Part.QUEUES, Part.WORKERS, Part.ENDPOINTS}
        if not board.stale:
            continue
        wanted = {*board.stale}
        try:
            await _read(api, board)
        except (Refused, Unreachable) as error:
            if not error.passes:
                raise
            board.stale |= wanted
            board.unreachable = str(error)
        else:
            board.unreachable = None
            if wanted & {Part.QUEUES, Part.FIGURES, Part.MOVED}:
                moved_at = loop.time()
            if Part.QUEUES in wanted:
                aged_at = loop.time()


async def _read(api: Api, board: Board) -> None:
    """Read what is stale; what becomes so meanwhile is read the next time."""
    parts, board.stale = board.stale, set()
    if parts & {Part.QUEUES, Part.FIGURES}:
        pages = api.pages("/queues", limit=_QUEUES_MAX)
        board.take_queues([row async for row in pages])
        everything = Part.FIGURES in parts
        await _read_figures(
            api, board, [*board.queues] if everything else board.names_to_read()
        )
    elif Part.MOVED in parts:
        await _read_figures(api, board, board.moved_to_read())
    if Part.WORKERS in parts:
        board.take_workers(await _list_workers(api))
    if Part.ENDPOINTS in parts:
        pages = api.pages("/endpoints", limit=_ALL)
        board.endpoints = [row async for row in pages]


async def _read_figures(api: Api, board: Board, names: list[str]) -> None:
    async def one(name: str) -> None:
        # What happens while we ask may be in the answer or not: it is read again.
        board.moved.discard(name)
        try:
            stats = await api.ask("GET", at("queues", name, "stats"))
        except (Refused, Unreachable) as error:
            if isinstance(error, Refused) and error.status == HTTPStatus.NOT_FOUND:
                board.forget(name)
                return
            board.moved.add(name)
            raise
        board.take_figures(name, stats)

    for begin in range(0, len(names), _SIDE_BY_SIDE):
        await asyncio.gather(*map(one, names[begin : begin + _SIDE_BY_SIDE]))


async def _list_workers(api: Api) -> list[dict[str, Any]]:
    """Return the workers that are up, who stand first in the list."""
    found = []
    async for row in api.pages("/workers", limit=_ALL):
        if row["status"] == "offline":
            break
        found.append(row)
    return found


@contextmanager
def _keys(told: asyncio.Event, out: Output) -> Iterator[None]:
    """Set *told* when q is pressed; the terminal is put back in the end."""
    if out.as_json:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if sys.stdin.read(1) in {"q", "Q", "\x03"}:
            told.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _screen(out: Output) -> Iterator[Any]:
    """Give what draws a board."""
    if out.as_json:
        yield lambda board, _: out.result(
            {
                "queues": board.rows(),
                "workers": board.at_work(),
                "failing_endpoints": board.failing(),
                "unreachable": board.unreachable,
            }
        )
        return
    live = importlib.import_module("rich.live")
    with live.Live(screen=True, auto_refresh=False) as screen:
        yield lambda board, url: screen.update(_picture(board, url), refresh=True)


def _picture(board: Board, url: str) -> Any:
    group = importlib.import_module("rich.console").Group
    text = importlib.import_module("rich.text").Text
    away = board.unreachable and f"{board.unreachable}; this is how it was"
    return group(
        text(f"Bellhop at {url}: q quits", style="bold"),
        text(cell(away), style="red"),
        _table("Queues", board.rows()),
        _table("Workers", board.at_work()),
        _table("Failing endpoints", board.failing()),
    )


def _table(title: str, rows: list[dict[str, Any]]) -> Any:
    table = importlib.import_module("rich.table")
    text = importlib.import_module("rich.text")
    shown = table.Table(title=title, title_justify="left", box=None, min_width=60)
    if not rows:
        shown.add_column(text.Text("none", style="dim"))
        return shown
    for name in rows[0]:
        words = name.replace("_per_second", "/s").replace("_", " ")
        shown.add_column(
            words, justify="left" if name == next(iter(rows[0])) else "right"
        )
    for row in rows[:SHOWN_MAX]:
        shown.add_row(*(text.Text(cell(value)) for value in row.values()))
    if len(rows) > SHOWN_MAX:
        shown.caption = f"and {len(rows) - SHOWN_MAX} more"
    return shown
