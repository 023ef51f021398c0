"""A file with one JSON object a line."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from libs.cli.settings import Unusable


def json_lines(file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give each object with the number of its line; empty lines are passed over.

    Raises `Unusable` with the line that is none.
    """
    for number, line in enumerate(_text(file), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise Unusable(f"line {number}: {error}") from None
        if not isinstance(found, dict):
            raise Unusable(f"line {number}: is no JSON object")
        yield number, found


def _text(file: Iterable[str]) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise Unusable(f"the file is no UTF-8: {error}") from None
