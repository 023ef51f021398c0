"""What endpoints get of a message, in each of the formats."""

import json
from datetime import datetime
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelopes import body_of, headers_of
from libs.common.ids import born_at, new_id

ORGANIZATION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def body(style, payload="{}", *, message_id=None):
    return body_of(
        style,
        message_id=message_id or new_id(),
        event_type="invoice.paid",
        payload=payload,
    )


def headers(style, *, message_id=None, ordering_key=None):
    return headers_of(
        style,
        message_id=message_id or new_id(),
        organization_id=ORGANIZATION,
        event_type="invoice.paid",
        ordering_key=ordering_key,
    )


def test_a_payload_goes_alone():
    assert body("payload", '{ "a":1 }') == '{ "a":1 }'
    assert headers("payload") == headers("envelope") == {}


@pytest.mark.parametrize("payload", ['{ "a" : 1.0 }', "null", "[1e3]", '"\\u00fc"'])
def test_an_envelope_is_json_around_the_untouched_payload(payload):
    id_ = new_id()

    spelled = body("envelope", payload, message_id=id_)

    read = json.loads(spelled)
    assert read == {
        "type": "invoice.paid",
        "timestamp": read["timestamp"],
        "data": json.loads(payload),
    }
    assert datetime.fromisoformat(read["timestamp"]) == born_at(id_)
    assert read["timestamp"].endswith("Z")
    assert spelled.endswith(f'"data":{payload}}}')


def test_the_same_message_makes_the_same_envelope():
    id_ = new_id()

    for style in ("payload", "envelope", "cloudevents"):
        assert body(style, message_id=id_) == body(style, message_id=id_)
        assert headers(style, message_id=id_) == headers(style, message_id=id_)


def test_a_cloud_event_has_what_the_standard_requires():
    said = headers("cloudevents")

    assert {"ce-specversion", "ce-id", "ce-source", "ce-type"} <= said.keys()
    assert "ce-partitionkey" not in said


@given(st.text(min_size=1, max_size=50))
def test_a_key_is_spelled_so_that_it_is_read_again(key):
    """CloudEvents HTTP binding 1.0, section 3.1.3.2."""
    spelled = headers("cloudevents", ordering_key=key)["ce-partitionkey"]

    assert all("\x21" <= char <= "\x7e" for char in spelled)
    assert not {'"', " "} & set(spelled)
    assert unquote(spelled) == key
