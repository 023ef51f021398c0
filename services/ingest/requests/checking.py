"""Data checked against the shape that it must have: both doors do it here."""

from typing import Any, Final, TypeVar

import msgspec
import orjson
from pydantic import BaseModel, ValidationError

from libs.common.errors import Fault, Malformed
from services.ingest.requests.faults import faults_in

Shape = TypeVar("Shape", bound=BaseModel)
RawShape = TypeVar("RawShape", bound=msgspec.Struct)

#: What pydantic calls a field that is missing or of another type, not merely wrong.
_UNREADABLE: Final = ("missing", "_type", "_parsing", "_tag_invalid", "_tag_not_found")


def checked(shape: type[Shape], data: object, *, within: str = "") -> Shape:
    """Return *data* as *shape*; raises `Malformed` naming every field that is wrong."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        raise malformed(error, data, within=within) from error
    except orjson.JSONEncodeError as error:
        # What is read deeper than it can be written (1024 and 254 levels).
        raise Malformed(
            Fault(within or "body", "is nested too deeply", "depth")
        ) from error


def malformed(
    error: ValidationError, data: object = None, *, within: str = ""
) -> Malformed:
    """Return pydantic's findings about *data* in our words."""
    faults = faults_in(error, data, within=within)
    unreadable = any(fault.code.endswith(_UNREADABLE) for fault in faults)
    return Malformed(*faults, unreadable=unreadable)


def parsed(body: bytes) -> Any:
    """Return what a body spells; raises `Malformed`.

    Numbers keep their meaning or are refused: NaN is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(
            Fault("body", f"the body is not valid JSON: {error}", "INVALID_JSON")
        ) from error


def as_sent(body: bytes | msgspec.Raw, shape: type[RawShape]) -> RawShape:
    """Return parts of a body as the bytes they were sent as; raises `Malformed`."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(
            Fault("body", f"the body cannot be read: {error}", "INVALID_JSON")
        ) from error
