"""The fields of a cron expression: what they may say, and which walls they fit (pure).

A *wall* is what a clock on the wall shows: a naive datetime.  Zones are not known here.
"""

import calendar
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

_DAY: Final = timedelta(days=1)
_DAYS_IN_WEEK: Final = 7
_SATURDAY: Final = 6
_SUNDAY: Final = 0
#: Within so many years everything has happened that ever does (2100 leaps no day).
_CYCLE_YEARS: Final = 48


class InvalidCron(ValueError):  # noqa: N818 - what is wrong, no "Error" at the end
    """An expression that says nothing; its words name the field."""

    def __init__(self, words: str) -> None:
        super().__init__(f"Invalid cron expression: {words}")


class _Kind(NamedTuple):
    """A field: what it is called, and what may stand in it."""

    name: str
    least: int
    most: int
    names: Sequence[str] = ()


_MONTHS: Final = (
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN"),
    *("JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SECONDS_FIELD: Final = _Kind("second", 0, 59)
_KINDS: Final = (
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day-of-month", 1, 31),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day-of-week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Days:
    """Which days of a month are meant by the day-of-month field."""

    numbers: frozenset[int]
    #: So many days before the last one.
    before_last: frozenset[int] = frozenset()
    #: The weekday that is nearest to this day, in the same month.
    nearest: frozenset[int] = frozenset()
    last_weekday: bool = False

    def has(self, day: date) -> bool:
        """Whether *day* is meant."""
        if day.day in self.numbers:
            return True
        if not (self.before_last or self.nearest or self.last_weekday):
            return False
        last = calendar.monthrange(day.year, day.month)[1]
        return (
            last - day.day in self.before_last
            or any(day.day == _nearest_weekday(day, n) for n in self.nearest)
            or (self.last_weekday and day.day == _nearest_weekday(day, last))
        )


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Which days are meant by the day-of-week field; Sunday is 0."""

    numbers: frozenset[int]
    #: The last such day of a month.
    last: frozenset[int] = frozenset()
    #: (day, n): the n-th such day of a month.
    nth: frozenset[tuple[int, int]] = frozenset()

    def has(self, day: date) -> bool:
        """Whether *day* is meant."""
        weekday = day.isoweekday() % _DAYS_IN_WEEK
        if weekday in self.numbers:
            return True
        if weekday in self.last:
            following = day.day + _DAYS_IN_WEEK
            return following > calendar.monthrange(day.year, day.month)[1]
        return (weekday, (day.day - 1) // _DAYS_IN_WEEK + 1) in self.nth


@dataclass(frozen=True, slots=True)
class Fields:
    """A cron expression that was read."""

    #: The times of a day as sorted numbers.
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    days: Days
    weekdays: Weekdays
    #: One of the two fields of days is enough, because neither begins with a star.
    either_day: bool
    #: Whether its minutes or hours have a star.
    interval: bool

    def between(self, first: datetime, end: datetime) -> datetime | None:
        """Return the first wall that fits, from *first* on and before *end*."""
        if first >= end:
            return None
        day = first.date()
        clock = self._clock_from(first.time()) if self._fits(day) else None
        if clock is None:
            following = self._day_from(day + _DAY, end.date())
            if following is None:
                return None
            day = following
            clock = time(self.hours[0], self.minutes[0], self.seconds[0])
        wall = datetime.combine(day, clock)
        return wall if wall < end else None

    def _fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        if self.either_day:
            return self.days.has(day) or self.weekdays.has(day)
        return self.days.has(day) and self.weekdays.has(day)

    def _day_from(self, day: date, last: date) -> date | None:
        while day <= last:
            if day.month not in self.months:
                day = (day.replace(day=1) + 31 * _DAY).replace(day=1)
            elif self._fits(day):
                return day
            else:
                day += _DAY
        return None

    def _clock_from(self, clock: time) -> time | None:
        """Return the first time of a day from *clock* on, or None."""
        hour = _from(self.hours, clock.hour)
        if hour is None:
            return None
        if hour > clock.hour:
            return time(hour, self.minutes[0], self.seconds[0])
        minute = _from(self.minutes, clock.minute)
        if minute == clock.minute:
            second = _from(self.seconds, clock.second)
            if second is not None:
                return time(hour, minute, second)
            minute = _from(self.minutes, clock.minute + 1)
        if minute is not None:
            return time(hour, minute, self.seconds[0])
        hour = _from(self.hours, clock.hour + 1)
        return None if hour is None else time(hour, self.minutes[0], self.seconds[0])


@lru_cache(maxsize=4096)
def parse_fields(text: str) -> Fields:
    """Return the fields of an expression; raises `InvalidCron`."""
    parts = text.upper().split()
    if len(parts) == len(_KINDS) + 1:
        seconds = _numbers(parts.pop(0), _SECONDS_FIELD)
    elif len(parts) == len(_KINDS):
        seconds = frozenset({0})
    else:
        raise InvalidCron(
            "must have 5 fields, minute hour day-of-month month day-of-week, or 6 "
            f"with the second before them; it has {len(parts)}"
        )
    minute, hour, day, month, weekday = parts
    fields = Fields(
        seconds=tuple(sorted(seconds)),
        minutes=tuple(sorted(_numbers(minute, _KINDS[0]))),
        hours=tuple(sorted(_numbers(hour, _KINDS[1]))),
        days=_days(day),
        months=_numbers(month, _KINDS[3]),
        weekdays=_weekdays(weekday),
        either_day=not (day.startswith("*") or weekday.startswith("*")),
        interval=minute.startswith("*") or hour.startswith("*"),
    )
    start = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall
    end = start.replace(year=start.year + _CYCLE_YEARS)
    if fields.between(start, end) is None:
        raise InvalidCron(f"day-of-month: {day} is in none of the months, {month}")
    return fields


def _days(text: str) -> Days:
    kind = _KINDS[2]
    numbers: set[int] = set()
    before_last: set[int] = set()
    nearest: set[int] = set()
    last_weekday = False
    for item in text.split(","):
        if item == "LW":
            last_weekday = True
        elif item == "L":
            before_last.add(0)
        elif found := re.fullmatch(r"L-([0-9]{1,2})", item):
            if not 1 <= int(found[1]) < kind.most:
                raise InvalidCron(f"{kind.name}: {item} goes back 1 to 30 days")
            before_last.add(int(found[1]))
        elif found := re.fullmatch(r"([0-9]{1,2})W", item):
            nearest.add(_number(found[1], kind))
        else:
            numbers |= _range(item, kind)
    return Days(
        frozenset(numbers), frozenset(before_last), frozenset(nearest), last_weekday
    )


def _weekdays(text: str) -> Weekdays:
    kind = _KINDS[4]
    numbers: set[int] = set()
    last: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for item in text.split(","):
        if found := re.fullmatch(r"(\w+)#(\w+)", item):
            if found[2] not in {"1", "2", "3", "4", "5"}:
                raise InvalidCron(f"{kind.name}: {item} needs 1 to 5 after the #")
            nth.add((_number(found[1], kind) % _DAYS_IN_WEEK, int(found[2])))
        elif found := re.fullmatch(r"(\w+)L", item):
            last.add(_number(found[1], kind) % _DAYS_IN_WEEK)
        else:
            numbers |= {day % _DAYS_IN_WEEK for day in _range(item, kind)}
    return Weekdays(frozenset(numbers), frozenset(last), frozenset(nth))


def _numbers(text: str, kind: _Kind) -> frozenset[int]:
    return frozenset().union(*(_range(item, kind) for item in text.split(",")))


def _range(item: str, kind: _Kind) -> set[int]:
    """Return what ``*``, ``a`` or ``a-b`` names, perhaps every n-th of it."""
    span, slash, step_text = item.partition("/")
    step = _step(item, step_text, kind) if slash else 1
    first_text, dash, last_text = span.partition("-")
    if span == "*":
        first, last = kind.least, _last(kind)
    else:
        first = last = _number(first_text, kind)
        if dash:
            last = _number(last_text, kind)
            if kind.names is _WEEKDAYS and last_text in {"SUN", "0"} and first:
                # A week may end with its Sunday.
                last = kind.most
            if last < first:
                raise InvalidCron(
                    f"{kind.name}: {item} runs backwards; write two ranges"
                )
        elif slash:
            last = max(first, _last(kind))
    return set(range(first, last + 1, step))


def _last(kind: _Kind) -> int:
    """Return where a field ends; Sunday does not count twice."""
    return kind.most - 1 if kind.names is _WEEKDAYS else kind.most


def _step(item: str, text: str, kind: _Kind) -> int:
    size = _last(kind) - kind.least + 1
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= size:
        raise InvalidCron(f"{kind.name}: {item} needs a step of 1 to {size}")
    return int(text)


def _number(text: str, kind: _Kind) -> int:
    if text in kind.names:
        return kind.names.index(text) + kind.least
    if not re.fullmatch(r"[0-9]{1,3}", text):
        allowed = f"a number of {kind.least} to {kind.most}"
        if kind.names:
            allowed += f" or {kind.names[0]} to {kind.names[-1]}"
        raise InvalidCron(f"{kind.name}: {text or 'nothing'} is not {allowed}")
    number = int(text)
    if not kind.least <= number <= kind.most:
        raise InvalidCron(
            f"{kind.name}: {number} is not within {kind.least}-{kind.most}"
        )
    return number


def _from(numbers: Sequence[int], least: int) -> int | None:
    place = bisect_left(numbers, least)
    return numbers[place] if place < len(numbers) else None


def _nearest_weekday(month: date, number: int) -> int | None:
    """Return the day from Monday to Friday that is nearest, and in the same month."""
    last = calendar.monthrange(month.year, month.month)[1]
    if number > last:
        return None
    weekday = month.replace(day=number).isoweekday() % _DAYS_IN_WEEK
    if weekday == _SATURDAY:
        return number - 1 if number > 1 else number + 2
    if weekday == _SUNDAY:
        return number + 1 if number < last else number - 2
    return number
