"""Tests on both event loops: Python's, and the one that the services run on."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
import uvloop

_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Make two tests of one; what it asks for must not be bound to a loop."""

    @wraps(test)
    def run(*, loop: str, **arguments: object) -> None:
        with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
            runner.run(test(**arguments))

    signature = inspect.signature(test)
    added = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), added]
    )
    both: Callable[..., None] = pytest.mark.parametrize("loop", _LOOPS)(run)
    return both
