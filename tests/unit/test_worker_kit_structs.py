"""What the worker kit sends and reads: as it is, or not at all."""

import json
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pb import spooled_pb2 as pb
from libs.worker.structs import payload_of, struct_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def fits(data):
    if isinstance(data, dict):
        return all(map(fits, data.values()))
    if isinstance(data, list):
        return all(map(fits, data))
    if isinstance(data, float):
        return abs(data) != float("inf")
    return not isinstance(data, int) or abs(data) <= 2**53


def carried(data):
    return payload_of(pb.Job(payload=struct_of(data, field="payload")))


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_sent_is_read_or_it_is_not_sent(data):
    if fits(data):
        assert carried(data) == data
    else:
        with pytest.raises(ValueError, match=r"larger than 2\^53|not JSON compliant"):
            carried(data)


@given(st.integers())
def test_integers_come_as_integers(number):
    if abs(number) > 2**53:
        with pytest.raises(ValueError, match=r"^payload\.n\[1\]\.id: larger than"):
            carried({"n": [1, {"id": number}]})
    else:
        [_, inner] = carried({"n": [1, {"id": number}]})["n"]
        assert inner == {"id": number}
        assert isinstance(inner["id"], int)


@given(st.integers())
def test_json_is_read_as_it_was_sent(number):
    spelled = json.dumps({"n": number})
    job = pb.Job(payload={"n": float(2**53)}, payload_json=spelled)

    assert payload_of(job) == {"n": number}


def test_what_json_has_other_words_for_is_sent_in_those():
    level = IntEnum("level", {"HIGH": 3})

    assert carried({"pair": (1, 2.5), 7: level.HIGH}) == {"pair": [1, 2.5], "7": 3}


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_what_protobuf_would_not_read_is_not_sent(kind):
    data: object = 1
    for _ in range(29):
        data = {"in": data} if kind == "objects" else [data]

    request = pb.EnqueueBatchRequest(
        items=[pb.EnqueueItem(payload=struct_of({"in": data}, field="payload"))]
    )
    assert pb.EnqueueBatchRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(ValueError, match=r"^payload\.in.*: nested more than 30 deep$"):
        struct_of({"in": [data]}, field="payload")


def test_what_is_too_large_is_not_sent():
    with pytest.raises(ValueError, match=r"^result: larger than 1 MiB$"):
        struct_of({"n": "é" * 600_000}, field="result", bytes_max=2**20)
    assert struct_of({"n": "é" * 500_000}, field="result", bytes_max=2**20)


@pytest.mark.parametrize("data", [[1], "text", 1])
def test_what_is_no_object_is_not_sent(data):
    with pytest.raises(TypeError, match=r"^result: must be an object$"):
        struct_of(data, field="result")
