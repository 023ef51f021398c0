"""Time zones: the same on every machine, and cut into stretches of one offset (pure).

Zones come from the ``tzdata`` package, which is pinned, and never from the machine: two
schedulers must agree about the next change of the clocks.  A zone is a name of the IANA
database, or a fixed offset such as ``+05:30``.

Moments are naive and in UTC here, and so are *walls*: what a clock on the wall shows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped] # it is data

#: Which edition of the zones this is, e.g. ``2026f``; later ones sort after it.
EDITION: Final[str] = tzdata.IANA_VERSION
#: How far ahead anybody looks.
HORIZON_YEARS: Final = 50

_NAMES: Final = frozenset(
    resources.files("tzdata").joinpath("zones").read_text("utf-8").split()
)
_FIXED: Final = re.compile(r"([+-])([01]\d|2[0-3]):([0-5]\d)")
_ZERO: Final = timedelta()
_SECOND: Final = timedelta(seconds=1)
#: The clocks of no place change twice within this.
_STEP: Final = timedelta(hours=6)
#: No change is larger than a day: Samoa once left one out.
_LARGEST: Final = timedelta(days=2)
_YEAR_MAX: Final = 9000


@dataclass(frozen=True, slots=True)
class Change:
    """The clocks are put forward or back: at this moment, from this offset to that."""

    at: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which the clocks are let alone; *end* is not in it."""

    end: datetime
    offset: timedelta
    #: What began it, unless that was long ago.
    change: Change | None


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """Return a zone; raises `ValueError` when there is none of that name."""
    fixed = _FIXED.fullmatch(name)
    if fixed:
        sign = -1 if fixed[1] == "-" else 1
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        return timezone(sign * offset)
    if name not in _NAMES:
        raise ValueError(
            f"{name!r} is no time zone: a name such as Europe/Berlin, or ±HH:MM"
        )
    with (
        resources.files("tzdata")
        .joinpath("zoneinfo", *name.split("/"))
        .open("rb") as file
    ):
        return ZoneInfo.from_file(file, key=name)


def stretches(zone: tzinfo, start: datetime) -> Iterator[Stretch]:
    """Yield the stretches of *zone* in their order; the first is that of *start*.

    They end `HORIZON_YEARS` later.
    """
    last = min(start.year + HORIZON_YEARS, _YEAR_MAX)
    end = datetime(last + 1, 1, 1)  # noqa: DTZ001 - moments are naive here
    always = zone.utcoffset(None)
    if always is not None:
        # UTC, for one: there is nothing to look for, year after year.
        yield Stretch(end, always, None)
        return
    began: Change | None = None
    for year in range((start - _LARGEST).year, last + 1):
        for change in _changes(zone, year):
            if change.at > start:
                yield Stretch(change.at, change.before, began)
                began = change
            elif change.at > start - _LARGEST:
                began = change
    yield Stretch(end, _offset(zone, end - _SECOND), began)


@lru_cache(maxsize=4096)
def _changes(zone: tzinfo, year: int) -> tuple[Change, ...]:
    """Return the changes of a year (UTC), in order."""
    start, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001
    count = (end - start) // _STEP
    steps = [start - _SECOND, *(start + n * _STEP for n in range(1, count))]
    steps.append(end - _SECOND)
    return tuple(
        _change_between(zone, left, right)
        for left, right in pairwise(steps)
        if _offset(zone, left) != _offset(zone, right)
    )


def _change_between(zone: tzinfo, left: datetime, right: datetime) -> Change:
    """Return the one change after *left* and not after *right*."""
    before, after = _offset(zone, left), _offset(zone, right)
    while right - left > _SECOND:
        middle = (left + (right - left) / 2).replace(microsecond=0)
        if _offset(zone, middle) == before:
            left = middle
        else:
            right = middle
    return Change(right, before, after)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() or _ZERO
