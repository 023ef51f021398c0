"""Named statements: a ``.sql`` file beside the ``.py`` file that gives it functions.

A statement begins with ``-- name: <name>`` on a line of its own; comments under it
say what it does and list ``$1``, ``$2``, … with their types.  Nothing is formatted
into a statement, ever.
"""

import re
from collections.abc import Iterable
from importlib import resources
from typing import Final, TypeVar

T = TypeVar("T")

_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(package: str, stem: str) -> dict[str, str]:
    """Return the statements of ``<stem>.sql`` in *package*, by name, in file order.

    Raises `ValueError` when a name stands twice or text stands before the first.
    """
    text = resources.files(package).joinpath(f"{stem}.sql").read_text("utf-8")
    preamble, *parts = _NAME.split(text)
    if any(line and not line.startswith("--") for line in preamble.splitlines()):
        raise ValueError(f"{stem}.sql: a statement without a name")
    statements: dict[str, str] = {}
    for name, statement in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{stem}.sql: {name} stands twice")
        statements[name] = statement.strip()
    return statements


def column(values: Iterable[T | None]) -> list[T | None] | None:
    """Return a column of rows that a statement unnests; None when all of it is null.

    ``unnest`` fills up with nulls what is shorter.  asyncpg asks of each element
    whether it is a sequence, which is most of what sending rows costs.
    """
    cells = list(values)
    return cells if any(cell is not None for cell in cells) else None
