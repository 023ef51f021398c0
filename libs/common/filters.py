r"""Which payloads an endpoint wants: a small language in JSON (pure).

A filter is an object.  A payload passes when every member of it holds:

* ``"path": value`` - what stands at the path equals a string, number, true, false or
  null;
* ``"path": {operator: operand, …}`` - every operator holds for what stands there;
* ``"$and": [filter, …]``, ``"$or": [filter, …]``, ``"$not": filter``.

A path is names and indices of lists joined by dots, ``data.items.0.sku``; a backslash
makes the next character plain (``a\.b``).  Operators:

====================  ================================================================
``$eq`` ``$ne``       equals any JSON, or does not; 1 equals 1.0, and true is no number
``$gt`` ``$gte``      after a number, or after a text by its code points; what is of
``$lt`` ``$lte``      another type, or not there, is neither before nor after
``$in`` ``$nin``      equals one of a list, or none of them
``$exists``           something stands there, null too (true); nothing does (false)
``$prefix``           a text that begins so
====================  ================================================================

Nothing equals what is not there: so ``$ne``, ``$nin`` and ``{"$exists": false}`` hold
where a path leads nowhere, and no other operator does.

A filter is compiled once and asked for every message.  How large and how deep it may
be is limited; what is wrong with one is said with its place (`BadFilter`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

#: The limits of a filter: its JSON, how deep ``$and``, ``$or`` and ``$not`` may be
#: nested, how many operators it may have, and how long its paths and lists may be.
BYTES_MAX: Final = 16 * 1024
DEPTH_MAX: Final = 8
OPERATORS_MAX: Final = 100
PATH_CHARS_MAX: Final = 255
LIST_MAX: Final = 100

#: What is asked of a payload.
Test = Callable[[Any], bool]
_Judge = Callable[[Any], bool]

_SCALARS: Final = (str, int, float, bool, type(None))
#: An index has no sign, no leading zero, and fewer digits than this.
_INDEX_DIGITS_MAX: Final = 9


class BadFilter(ValueError):  # noqa: N818 - what is wrong, no "Error" at the end
    """A filter that is none: *place* is where, *words* say what is wrong."""

    def __init__(self, place: str, words: str) -> None:
        super().__init__(f"{place}: {words}" if place else words)
        self.place = place
        self.words = words


class _Missing:
    """What stands where nothing stands."""


_NOTHING: Final = _Missing()


@dataclass(slots=True)
class _Budget:
    """How many operators may still come."""

    left: int = OPERATORS_MAX

    def spend(self, place: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise BadFilter(place, f"a filter has at most {OPERATORS_MAX} operators")


def compile_filter(spec: object) -> Test:
    """Return a function that tells whether a payload passes; raises `BadFilter`.

    What it returns never raises, whatever JSON it is asked about.
    """
    if not isinstance(spec, Mapping):
        raise BadFilter("", "must be a JSON object")
    try:
        size = len(orjson.dumps(spec))
    except orjson.JSONEncodeError:
        raise BadFilter("", "is nested too deeply") from None
    if size > BYTES_MAX:
        raise BadFilter("", f"exceeds {BYTES_MAX // 1024} KiB")
    return _filter(spec, "", 0, _Budget())


def _filter(spec: object, place: str, depth: int, budget: _Budget) -> Test:
    if not isinstance(spec, Mapping):
        raise BadFilter(place, "must be a JSON object")
    if depth > DEPTH_MAX:
        raise BadFilter(place, f"is nested deeper than {DEPTH_MAX}")
    tests = [
        _member(name, value, _at(place, name), depth, budget)
        for name, value in spec.items()
    ]
    return _all(tests)


def _member(name: str, value: object, place: str, depth: int, budget: _Budget) -> Test:
    match name:
        case "$and" | "$or":
            budget.spend(place)
            parts = _filters(value, place, depth, budget)
            return _all(parts) if name == "$and" else _any(parts)
        case "$not":
            budget.spend(place)
            part = _filter(value, place, depth + 1, budget)
            return lambda payload: not part(payload)
    if name.startswith("$"):
        raise BadFilter(
            place, "is no operator here: those are $and, $or and $not beside paths"
        )
    return _condition(_steps(name, place), value, place, budget)


def _filters(value: object, place: str, depth: int, budget: _Budget) -> list[Test]:
    if not isinstance(value, list) or not value:
        raise BadFilter(place, "must be a list of filters, at least one")
    if len(value) > LIST_MAX:
        raise BadFilter(place, f"has more than {LIST_MAX} filters")
    return [
        _filter(one, _at(place, str(index)), depth + 1, budget)
        for index, one in enumerate(value)
    ]


def _condition(
    steps: tuple[str, ...], value: object, place: str, budget: _Budget
) -> Test:
    """Return what is asked of whatever stands at the end of *steps*."""
    if isinstance(value, _SCALARS):
        budget.spend(place)
        judges = [_equals(value)]
    elif isinstance(value, Mapping) and value:
        judges = []
        for name, operand in value.items():
            budget.spend(_at(place, name))
            judges.append(_operator(name, operand, _at(place, name)))
    else:
        raise BadFilter(
            place,
            'must be a value, or operators such as {"$gt": 5}; '
            "lists and objects are compared with $eq",
        )
    judge = _all(judges)
    return lambda payload: judge(_found(payload, steps))


# --- paths ---------------------------------------------------------------------------


def _steps(path: str, place: str) -> tuple[str, ...]:
    r"""Return the names of a path; a backslash makes the next character plain."""
    if len(path) > PATH_CHARS_MAX:
        raise BadFilter(place, f"is a path of more than {PATH_CHARS_MAX} characters")
    steps, step, plain = [], "", False
    for char in path:
        if plain:
            step, plain = step + char, False
        elif char == "\\":
            plain = True
        elif char == ".":
            steps.append(step)
            step = ""
        else:
            step += char
    if plain:
        raise BadFilter(place, "is a path that ends in a backslash")
    steps.append(step)
    if "" in steps:
        raise BadFilter(place, "is a path with an empty name")
    return tuple(steps)


def _found(payload: Any, steps: tuple[str, ...]) -> Any:
    """Return what stands at the end of *steps*, or `_NOTHING`."""
    for step in steps:
        if isinstance(payload, dict):
            payload = payload.get(step, _NOTHING)
        elif isinstance(payload, list):
            index = _index(step)
            payload = payload[index] if 0 <= index < len(payload) else _NOTHING
        else:
            return _NOTHING
    return payload


def _index(step: str) -> int:
    if not (step.isascii() and step.isdigit() and len(step) <= _INDEX_DIGITS_MAX):
        return -1
    return -1 if len(step) > 1 and step[0] == "0" else int(step)


# --- operators -----------------------------------------------------------------------


def _operator(name: str, operand: Any, place: str) -> _Judge:
    match name:
        case "$eq":
            return _equals(operand)
        case "$ne":
            equal = _equals(operand)
            return lambda value: not equal(value)
        case "$in" | "$nin":
            among = _among(operand, place)
            return among if name == "$in" else lambda value: not among(value)
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _compared(name, operand, place)
        case "$exists":
            if not isinstance(operand, bool):
                raise BadFilter(place, "must be true or false")
            return lambda value: (value is not _NOTHING) is operand
        case "$prefix":
            if not isinstance(operand, str):
                raise BadFilter(place, "must be a text")
            return lambda value: isinstance(value, str) and value.startswith(operand)
    words = (
        "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists and $prefix"
        if name.startswith("$")
        else "operators begin with $; what is inside an object has a path with dots"
    )
    raise BadFilter(place, f"is no operator: {words}")


def _equals(wanted: Any) -> _Judge:
    return lambda value: _same(wanted, value)


def _among(operand: object, place: str) -> _Judge:
    if not isinstance(operand, list) or not operand:
        raise BadFilter(place, "must be a list of values, at least one")
    if len(operand) > LIST_MAX:
        raise BadFilter(place, f"has more than {LIST_MAX} values")
    judges = [_equals(one) for one in operand]
    return lambda value: any(judge(value) for judge in judges)


def _compared(name: str, operand: Any, place: str) -> _Judge:
    kind = _kind(operand)
    if kind is None:
        raise BadFilter(place, "must be a number or a text")
    match name:
        case "$gt":
            return lambda value: _kind(value) is kind and value > operand
        case "$gte":
            return lambda value: _kind(value) is kind and value >= operand
        case "$lt":
            return lambda value: _kind(value) is kind and value < operand
    return lambda value: _kind(value) is kind and value <= operand


def _kind(value: object) -> type | None:
    """Return what can be compared with what: numbers, or texts."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, and true is not 1.

    It goes as deep as *one*, which is the filter's.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_same(*pair) for pair in zip(one, other, strict=True))
        )
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(value, other[name]) for name, value in one.items())
        )
    return bool(one == other)


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda payload: all(test(payload) for test in tests)


def _any(tests: list[Test]) -> Test:
    return lambda payload: any(test(payload) for test in tests)


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
