"""Lists in parts, by ``limit`` and ``offset``, that say whether there is more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from libs.common.db import Row
from services.ingest.http.errors import answer
from services.ingest.http.reading import number

_OFFSET_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a list that somebody asks for."""

    size: int
    offset: int

    @property
    def limit(self) -> int:
        """How many rows to look for: one too many says that there is more."""
        return self.size + 1

    def of(self, rows: Sequence[Row], shape: Callable[[Row], Any]) -> web.Response:
        """Return the answer: what was found, and whether the list goes on."""
        more = "true" if len(rows) > self.size else "false"
        return answer(
            [shape(row) for row in rows[: self.size]], headers={"X-Has-More": more}
        )


def asked_part(request: web.Request, *, default: int = 100, most: int = 100) -> Part:
    """Return the part that the query asks for; numbers are moved into range (D21)."""
    return Part(
        number(request, "limit", default=default, least=1, most=most),
        number(request, "offset", default=0, least=0, most=_OFFSET_MAX),
    )
