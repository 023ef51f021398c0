"""Structs and JSON: what goes in comes out, and whole numbers stay whole."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Malformed
from services.ingest.grpc.structs import fill, stamp, to_json, to_moment

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-(2.0**53), 2.0**53)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_goes_in_comes_out(data):
    struct = Struct()
    exact = fill(struct, data)
    read, spelled = to_json(struct, field="payload")

    assert exact
    assert read == data == orjson.loads(spelled)
    assert json_format.MessageToDict(struct) == data


@given(
    st.dictionaries(st.text(), VALUES),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(0, 2),
)
def test_an_integer_comes_out_as_it_went_in_or_it_is_said_that_it_may_not(
    data, number, depth
):
    data |= {"n": number}
    for _ in range(depth):
        data = {"beside": 1, "in": [True, data]}
    struct = Struct()
    exact = fill(struct, data)
    read, _ = to_json(struct, field="payload")

    assert exact == (abs(number) <= 2**53)
    if exact:
        assert read == data
        assert f'"n":{number}'.encode() in orjson.dumps(read)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_out_as_it_went_in(number):
    struct = Struct()
    fill(struct, {"n": number})

    assert to_json(struct, field="payload")[0] == {"n": number}


def test_whole_numbers_are_integers():
    struct = Struct()
    struct.update({"n": 1, "x": 1.5, "list": [2.0], "huge": 1e300})

    read, spelled = to_json(struct, field="payload")

    assert b'"n":1,' in spelled.replace(b"}", b",")
    assert read["list"] == [2]
    assert isinstance(read["list"][0], int)
    assert isinstance(read["huge"], float)


def test_an_empty_object_is_there():
    job = Struct()
    fill(job.fields["inner"].struct_value, {})

    assert to_json(job, field="payload")[0] == {"inner": {}}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_say_is_refused(number):
    struct = Struct()
    struct.update({"n": [number]})

    with pytest.raises(Malformed, match="Invalid payload"):
        to_json(struct, field="payload")


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=UTC)
    )
)
def test_moments_come_back(moment):
    there = Timestamp()
    stamp(there, moment)

    assert to_moment(there, field="scheduled_at") == moment
    assert there.ToDatetime(tzinfo=UTC) == moment


def test_a_moment_out_of_range_is_refused():
    with pytest.raises(Malformed, match="Invalid scheduled_at"):
        to_moment(Timestamp(seconds=2**60), field="scheduled_at")
    assert to_moment(Timestamp(seconds=1), field="x") - datetime(
        1970, 1, 1, tzinfo=UTC
    ) == timedelta(seconds=1)
