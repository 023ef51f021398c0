"""JSON objects as protobuf carries them, and moments.

A ``Struct`` has only doubles; what is whole comes out as an integer, so that ``1`` is
``1`` on both sides.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from libs.common.pb import spooled_pb2 as pb

#: Up to here a double holds every integer.
_WHOLE_MAX: Final = 2.0**53


def payload_of(job: pb.Job) -> Any:
    """Return a job's payload: an object nearly always, else whatever JSON it is."""
    if job.HasField("payload_json"):
        return json.loads(job.payload_json)
    return {name: _read(value) for name, value in job.payload.fields.items()}


def struct_of(data: Mapping[str, Any]) -> Struct:
    """Return an object as a `Struct`; raises `TypeError` or `ValueError`."""
    struct = Struct()
    # As JSON has it, so that what can be sent here can be sent over REST.
    struct.update(json.loads(json.dumps(data, allow_nan=False)))
    return struct


def stamp_of(moment: datetime) -> Timestamp:
    """Return a moment; one without a zone is UTC."""
    stamp = Timestamp()
    stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return stamp


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
