"""Cron by brute force: minute after minute, as the daemon does it, and nothing clever.

It shares no code with `libs.common.cron`, but only the edition of the zones.
"""

import calendar
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from libs.common.zones import zone_of

MINUTE = timedelta(minutes=1)
_NAMES = {
    3: [calendar.month_abbr[month].upper() for month in range(1, 13)],
    4: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}
_FIRST = {3: 1, 4: 0}
_SPANS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


class Entry:
    """A line of five fields."""

    def __init__(self, expression):
        self.parts = expression.upper().split()
        self.wild = self.parts[0][0] == "*" or self.parts[1][0] == "*"

    def means(self, wall):
        """Whether a clock that shows *wall* means this line."""
        minute, hour, day, month, weekday = self.parts
        if not (
            _means(minute, 0, wall.minute)
            and _means(hour, 1, wall.hour)
            and _means(month, 3, wall.month)
        ):
            return False
        by_day = any(_is_day(item, wall) for item in day.split(","))
        by_weekday = any(_is_weekday(item, wall) for item in weekday.split(","))
        if day[0] == "*" or weekday[0] == "*":
            return by_day and by_weekday
        return by_day or by_weekday


def walk(expression, zone, start, end):
    """Return the minutes from *start* on and before *end* at which it happens.

    The daemon looks at the clock every minute.  What is bound to a time of day and was
    left out since the last look it does at once; what comes again it does not do.
    """
    entry = Entry(expression)
    found = []
    # A day before, so that it knows what the clock has shown already.
    walls = _walls(zone, start - timedelta(days=1), end)
    shown = walls[0][1] - MINUTE
    for moment, wall in walls:
        if entry.wild:
            happens = entry.means(wall)
        else:
            happens = False
            while shown < wall:
                shown += MINUTE
                happens = entry.means(shown) or happens
        if happens and moment >= start:
            found.append(moment)
    return found


def changes(zone, first_year, last_year):
    """Return the hours (UTC) in which the clocks of a zone change."""
    zone = zone_of(zone)
    moment = datetime(first_year, 1, 1, tzinfo=UTC)
    found = []
    while moment.year <= last_year:
        following = moment + timedelta(hours=1)
        if (
            moment.astimezone(zone).utcoffset()
            != following.astimezone(zone).utcoffset()
        ):
            found.append(moment)
        moment = following
    return found


@lru_cache(maxsize=256)
def _walls(zone, start, end):
    """Return the minutes of a time, and what the clock shows in each."""
    minutes = (start + n * MINUTE for n in range((end - start) // MINUTE))
    there = zone_of(zone)
    return [
        (moment, moment.astimezone(there).replace(tzinfo=None, fold=0))
        for moment in minutes
    ]


def _number(text, place):
    if text in _NAMES.get(place, ()):
        return _NAMES[place].index(text) + _FIRST[place]
    return int(text)


def _means(field, place, value):
    return any(_item_means(item, place, value) for item in field.split(","))


def _item_means(item, place, value):
    first, last = _SPANS[place]
    span, _, step = item.partition("/")
    if span != "*":
        ends = [_number(end, place) for end in span.split("-")]
        first = ends[0]
        if len(ends) == 2:
            last = ends[1]
        elif not step:
            last = first
    return first <= value <= last and (value - first) % int(step or 1) == 0


def _is_day(item, wall):
    last = calendar.monthrange(wall.year, wall.month)[1]
    if item == "L":
        return wall.day == last
    if item.startswith("L-"):
        return wall.day == last - int(item[2:])
    if item == "LW":
        return wall.day == _nearest(wall, last)
    if item.endswith("W"):
        return int(item[:-1]) <= last and wall.day == _nearest(wall, int(item[:-1]))
    return _item_means(item, 2, wall.day)


def _nearest(wall, number):
    """Try the day itself, the day before, the day after, and so on."""
    last = calendar.monthrange(wall.year, wall.month)[1]
    for distance in (0, -1, 1, -2, 2):
        day = number + distance
        if 1 <= day <= last and wall.replace(day=day).weekday() < 5:
            return day
    raise AssertionError(wall)


def _is_weekday(item, wall):
    weekday = wall.isoweekday() % 7
    if "#" in item:
        name, _, nth = item.partition("#")
        nearer = wall.day - 7 * (int(nth) - 1)
        return weekday == _number(name, 4) % 7 and 1 <= nearer <= 7
    if item.endswith("L") and len(item) > 1:
        following = wall + timedelta(days=7)
        return weekday == _number(item[:-1], 4) % 7 and following.month != wall.month
    # Sunday has two numbers.
    return _item_means(item, 4, weekday) or (
        weekday == 0 and _item_means(item, 4, 7) and item[0] != "*"
    )
