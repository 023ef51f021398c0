"""What pydantic finds wrong with a request, in our words, and where."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from libs.common.backoff import Exponential, Schedule
from libs.common.errors import Fault

_OBJECT: Final = "must be a JSON object"
_NUMBER: Final = "must be a number"
_WHOLE: Final = "must be a whole number"
_TIME: Final = "must be an RFC 3339 time"
_YES_NO: Final = "must be true or false"

#: What is said of each kind of fault, with what pydantic knows of it.  Of kinds that
#: are not here, which are mostly our own, the words are said as they are.
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a field we know here",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": _YES_NO,
    "bool_parsing": _YES_NO,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} character{s}",
    "string_too_long": "must have at most {max_length} character{s}",
    "too_short": "must have at least {min_length} {unit}{s}",
    "too_long": "must have at most {max_length} {unit}{s}",
    "literal_error": "must be {expected}",
}
_TAG_FAULTS: Final = ("union_tag_invalid", "union_tag_not_found")
#: What a field may say by which we tell which of several shapes an object has.
_TAGS: Final = {
    "strategy": " or ".join(
        get_args(shape.model_fields["strategy"].annotation)[0]
        for shape in (Exponential, Schedule)
    ),
    "kind": "basic, bearer, api_key or oauth2",
}


def faults_in(error: ValidationError, data: object, *, within: str) -> list[Fault]:
    """Return what *error* found wrong with *data*, which stands at *within*."""
    return [_fault(found, data, within) for found in error.errors(include_url=False)]


def _fault(found: ErrorDetails, data: object, within: str) -> Fault:
    path = [within] if within else []
    path += _path(found["loc"], data)
    kind, context = found["type"], found.get("ctx", {})
    if kind in _TAG_FAULTS:
        tag = str(context["discriminator"]).strip("'")
        return Fault(".".join((*path, tag)), f"must be {_TAGS[tag]}", kind)
    words = _WORDS.get(kind)
    message = (
        found["msg"].removeprefix("Value error, ")
        if words is None
        else words.format(**_spelled(found))
    )
    return Fault(".".join(path) or "body", message, kind)


def _spelled(found: ErrorDetails) -> dict[str, object]:
    """Return what is to be put into words: without quotes, and with the plural."""
    said: dict[str, Any] = dict(found.get("ctx", {}))
    said["s"] = "" if said.get("min_length", said.get("max_length")) == 1 else "s"
    said["unit"] = "character" if isinstance(found["input"], str) else "item"
    if "expected" in said:
        said["expected"] = str(said["expected"]).replace("'", "")
    return said


def _path(location: Iterable[int | str], data: object) -> list[str]:
    """Return the names that the sender gave on the way to a fault.

    Pydantic also says which of several shapes it took for meant: that is no name.
    """
    path = []
    *way, last = location or ("",)
    for part in way:
        inner = _member(data, part)
        if inner is not None:
            path.append(str(part))
            data = inner
    # What is missing is not there, and is meant; a number or a text has no members.
    if last != "" and (
        isinstance(data, dict) or (isinstance(data, list) and isinstance(last, int))
    ):
        path.append(str(last))
    return path


def _member(data: object, part: int | str) -> object:
    """Return what stands at *part*, or None where nothing does."""
    member: object = None
    if isinstance(data, dict):
        member = data.get(part)
    elif isinstance(data, list) and isinstance(part, int) and part < len(data):
        member = data[part]
    return member
