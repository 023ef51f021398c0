"""When a schedule fires: cron expressions, intervals and single moments (pure).

An expression is one of

::

    minute hour day-of-month month day-of-week    a sixth field before them: second
    @yearly @annually @monthly @weekly @daily @midnight @hourly
    @every 1h30m                                  from an anchor on, whatever clocks do
    @at 2027-03-28T02:30:00Z                      once; by the zone, without an offset

A field is a list of ``*``, ``a`` and ``a-b``, each with ``/n`` on it if wanted (``a/n``
goes on to the end of the field).  Months and days of the week have names.  ``L``,
``L-3``, ``LW`` and ``15W`` are days of a month, ``5L`` is its last Friday, ``5#2`` the
second.  When neither field of days begins with a star, one of the two is enough.

When the clocks change it is as with Debian's cron.  An entry whose minutes or hours
begin with a star goes by what the clock shows: what it leaves out does not happen, and
what it shows twice happens twice.  Any other is for a time of day: what the clock
leaves out happens once right afterwards, what it shows twice happens the first time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

from libs.common.cron_fields import Fields, InvalidCron, parse_fields
from libs.common.zones import stretches, zone_of

#: The longest expression that is read.
EXPRESSION_LENGTH_MAX: Final = 100
EVERY_SECONDS_MAX: Final = 366 * 86_400

_SECOND: Final = timedelta(seconds=1)
_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNIT_SECONDS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"([0-9]{1,8})([dhms])")


class Timetable(Protocol):
    """The moments at which something is to happen; they are whole seconds."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first of them after *moment*, or None when there is no more."""
        ...


@dataclass(frozen=True, slots=True)
class Calendar:
    """The moments that fields of a cron expression name, in a zone."""

    fields: Fields
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment after *moment*, or None within `HORIZON_YEARS`."""
        start = _naive(moment) + _SECOND
        begin = start
        for stretch in stretches(self.zone, start):
            first = begin + stretch.offset
            change = stretch.change
            if change is not None and not self.fields.interval:
                shown = change.at + change.before
                if change.at >= start and self.fields.between(shown, first) is not None:
                    # The clock left it out: right afterwards.
                    return _aware(change.at)
                # What was shown before is not meant again.
                first = max(first, shown)
            wall = self.fields.between(first, stretch.end + stretch.offset)
            if wall is not None:
                return _aware(wall - stretch.offset)
            begin = stretch.end
        return None


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, counted from an anchor, which is the first moment."""

    step: timedelta
    anchor: datetime

    def after(self, moment: datetime) -> datetime | None:
        """Return the first moment after *moment*."""
        if moment < self.anchor:
            return self.anchor
        steps = (moment - self.anchor) // self.step + 1
        try:
            return self.anchor + steps * self.step
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class Once:
    """One moment."""

    at: datetime

    def after(self, moment: datetime) -> datetime | None:
        """Return the moment, unless it is over."""
        return self.at if self.at > moment else None


def read_timetable(expression: str, *, timezone: str, anchor: datetime) -> Timetable:
    """Return what *expression* says.

    *timezone* is a zone's name or ``±HH:MM``; *anchor* is what ``@every`` counts from.
    Raises `InvalidCron` for the expression and `ValueError` for the zone.
    """
    zone = zone_of(timezone)
    text = expression.strip()
    if not 1 <= len(text) <= EXPRESSION_LENGTH_MAX:
        raise InvalidCron(f"must have 1 to {EXPRESSION_LENGTH_MAX} characters")
    if not text.startswith("@"):
        return Calendar(parse_fields(text), zone)
    word, _, rest = text.partition(" ")
    match word.lower():
        case "@every":
            return Interval(_duration(rest), anchor.replace(microsecond=0))
        case "@at":
            return Once(_moment(rest.strip(), zone))
        case "@reboot":
            raise InvalidCron("@reboot: nothing is ever booted here")
        case known if known in _MACROS and not rest:
            return Calendar(parse_fields(_MACROS[known]), zone)
    words = ", ".join((*dict.fromkeys(_MACROS), "@every 5m", "@at <time>"))
    raise InvalidCron(f"{text!r} is none of {words}")


def moments(timetable: Timetable, *, after: datetime, limit: int) -> list[datetime]:
    """Return up to *limit* moments after *after*."""
    found: list[datetime] = []
    moment = timetable.after(after)
    while moment is not None and len(found) < limit:
        found.append(moment)
        moment = timetable.after(moment)
    return found


def _duration(text: str) -> timedelta:
    """Return what ``1h30m`` says."""
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text.strip():
        raise InvalidCron(f"@every: {text!r} is no time such as 90s, 5m, 1h30m or 2d")
    seconds = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if not 1 <= seconds <= EVERY_SECONDS_MAX:
        raise InvalidCron("@every: must be at least 1s and at most 366d")
    return timedelta(seconds=seconds)


def _moment(text: str, zone: tzinfo) -> datetime:
    """Return the moment that RFC 3339 spells, to the second and never earlier."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.microsecond:
            moment = moment.replace(microsecond=0) + _SECOND
        if moment.tzinfo is None:
            return moment_of(moment, zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidCron(f"@at: {text!r} is no RFC 3339 time") from error


def moment_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return when a clock in *zone* shows *wall*, the first time.

    What it leaves out is right after that.
    """
    for stretch in stretches(zone, wall - timedelta(days=2)):
        if wall < stretch.end + stretch.offset:
            moment = wall - stretch.offset
            if stretch.change is not None:
                moment = max(moment, stretch.change.at)
            return _aware(moment)
    raise ValueError("is too far away")


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
