"""JSON objects as protobuf carries them, and moments.

A ``Struct`` has only doubles; what is whole comes out as an integer, so that ``1`` is
``1`` on both sides.  An integer that a double cannot hold is refused, not rounded.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from libs.common.pb import spooled_pb2 as pb

#: Up to here a double holds every integer.
_WHOLE_MAX: Final = 2**53
#: Protobuf refuses to read what is 100 messages deep, and a level takes up to three.
_DEPTH_MAX: Final = 30


def payload_of(job: pb.Job) -> Any:
    """Return a job's payload: an object nearly always, else whatever JSON it is."""
    if job.HasField("payload_json"):
        return json.loads(job.payload_json)
    return {name: _read(value) for name, value in job.payload.fields.items()}


def struct_of(
    data: Mapping[str, Any], *, field: str, bytes_max: int | None = None
) -> Struct:
    """Return an object as a `Struct`.

    Args:
        data: anything that `json.dumps` makes an object of.
        field: what it is, for errors: they name what is wrong as ``payload.user.id``.
        bytes_max: how large it may be as JSON.

    Raises `TypeError` for what is no JSON object, and `ValueError` for NaN, for an
    integer beyond 2^53, for more than 30 objects and lists within one another, and for
    what is too large.
    """
    # As JSON has it, so that what can be sent here can be sent over REST.
    spelled = json.dumps(
        data, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )
    if bytes_max is not None and len(spelled.encode()) > bytes_max:
        raise ValueError(f"{field}: larger than {bytes_max / 2**20:g} MiB")
    plain = json.loads(spelled)
    if not isinstance(plain, dict):
        raise TypeError(f"{field}: must be an object")
    struct = Struct()
    _fill(struct, plain, field, _DEPTH_MAX)
    return struct


def stamp_of(moment: datetime) -> Timestamp:
    """Return a moment; one without a zone is UTC."""
    stamp = Timestamp()
    stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return stamp


def _fill(struct: Struct, data: dict[str, Any], path: str, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"{path}: nested more than {_DEPTH_MAX} deep")
    struct.SetInParent()
    fields = struct.fields
    for name, value in data.items():
        _write(fields[name], value, f"{path}.{name}", depth - 1)


def _write(value: Value, data: Any, path: str, depth: int) -> None:
    if isinstance(data, str):
        value.string_value = data
    elif isinstance(data, bool):
        value.bool_value = data
    elif isinstance(data, int):
        if not -_WHOLE_MAX <= data <= _WHOLE_MAX:
            raise ValueError(f"{path}: larger than 2^53: send it as text")
        value.number_value = data
    elif isinstance(data, float):
        value.number_value = data
    elif data is None:
        value.null_value = NULL_VALUE
    elif isinstance(data, dict):
        _fill(value.struct_value, data, path, depth)
    else:
        _write_list(value, data, path, depth)


def _write_list(value: Value, data: list[Any], path: str, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"{path}: nested more than {_DEPTH_MAX} deep")
    values = value.list_value.values
    value.list_value.SetInParent()
    for index, item in enumerate(data):
        _write(values.add(), item, f"{path}[{index}]", depth - 1)


def _read(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            whole = number.is_integer() and abs(number) <= _WHOLE_MAX
            return int(number) if whole else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            fields = value.struct_value.fields
            return {name: _read(one) for name, one in fields.items()}
        case "list_value":
            return [_read(one) for one in value.list_value.values]
        case _:
            return None
