"""``google.protobuf.Struct`` and JSON (pure).

A `Struct` carries any JSON object, but its numbers are doubles: what is whole comes
out as an integer, so that ``{"n": 1}`` reaches its receiver as ``{"n": 1}``, and beyond
2^53 it may be rounded.  Written by hand because it is on the way of every job: twice as
fast as ``json_format``.
"""

from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final

import orjson
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from libs.common.errors import Fault, Malformed
from services.ingest.grpc.sizes import DEPTH_MAX

#: Up to here a double holds every integer.
_WHOLE_MAX: Final = 2.0**53
#: Putting the two together takes longer than asking.
_NUMBER: Final = (int, float)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_json(struct: Struct, *, field: str) -> tuple[dict[str, Any], bytes]:
    """Return *struct* as an object and as JSON; raises `Malformed` naming *field*."""
    try:
        read = _read_all(struct)
        return read, orjson.dumps(read)
    except (ValueError, orjson.JSONEncodeError) as error:
        raise Malformed(Fault(field, f"Invalid {field}: {error}", "json")) from error


def fill(struct: Struct, data: dict[str, Any], *, depth: int = DEPTH_MAX) -> bool:
    """Put *data* into an empty *struct*, which is there afterwards, if empty.

    Returns whether it holds every number for certain: beyond ±2^53 an integer may be
    rounded, and *data* may have a double already where an integer was spelled.  Raises
    `RecursionError` for more than *depth* objects and lists within one another.
    """
    struct.SetInParent()
    fields = struct.fields
    exact = True
    for name, value in data.items():
        if not _write(fields[name], value, depth - 1):
            exact = False
    return exact


def to_moment(stamp: Timestamp, *, field: str) -> datetime:
    """Return a moment; raises `Malformed` naming *field* when there is none such."""
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos / 1e3)
    except OverflowError as error:
        raise Malformed(
            Fault(field, f"Invalid {field}: out of range", "time")
        ) from error


def stamp(into: Timestamp, moment: datetime | None) -> None:
    """Put *moment* into *into*; None leaves it absent."""
    if moment is not None:
        since = moment - _EPOCH
        into.seconds = since // _SECOND
        into.nanos = since % _SECOND // _MICROSECOND * 1000


def _read_all(struct: Struct) -> dict[str, Any]:
    fields = struct.fields
    # `items` of a protobuf map goes through an iterator of Python's.
    return {name: _read(fields[name]) for name in fields}


def _read(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "struct_value":
        return _read_all(value.struct_value)
    if kind == "list_value":
        return [_read(inner) for inner in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    return getattr(value, kind)


def _number(number: float) -> float:
    if number.is_integer() and -_WHOLE_MAX <= number <= _WHOLE_MAX:
        return int(number)
    if not isfinite(number):
        raise ValueError("JSON has no infinity and no NaN")
    return number


def _write(value: Value, data: Any, depth: int) -> bool:
    if isinstance(data, str):
        value.string_value = data
    elif isinstance(data, bool):
        value.bool_value = data
    elif isinstance(data, _NUMBER):
        value.number_value = data
        return -_WHOLE_MAX <= data <= _WHOLE_MAX
    elif data is None:
        value.null_value = NULL_VALUE
    elif depth == 0:
        raise RecursionError("nested deeper than a message may be")
    elif isinstance(data, dict):
        return fill(value.struct_value, data, depth=depth)
    else:
        return _fill_list(value.list_value, data, depth)
    return True


def _fill_list(into: ListValue, data: list[Any], depth: int) -> bool:
    into.SetInParent()
    exact = True
    for item in data:
        if not _write(into.values.add(), item, depth - 1):
            exact = False
    return exact
