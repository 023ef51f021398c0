"""How far long work has come: a bar on standard error, where that is a terminal."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(text: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """Give what is to be told how many more are done; *total* is None if unknown."""
    # An image of one service has nothing to draw with.
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda _: None
        return
    rich = importlib.import_module("rich.progress")
    console = importlib.import_module("rich.console").Console(stderr=True)
    with rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn() if total is None else rich.TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda more: bar.advance(task, more)
