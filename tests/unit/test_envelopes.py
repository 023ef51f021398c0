"""What endpoints get of a message, in each of the formats."""

import json
from datetime import datetime
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelopes import enveloped
from libs.common.ids import born_at, new_id

ORGANIZATION = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def of(style, payload="{}", *, message_id=None, ordering_key=None):
    return enveloped(
        style,
        message_id=message_id or new_id(),
        organization_id=ORGANIZATION,
        event_type="invoice.paid",
        payload=payload,
        ordering_key=ordering_key,
    )


def test_a_payload_goes_alone():
    assert (of("payload").body, of("payload").headers) == (None, {})


@pytest.mark.parametrize("payload", ['{ "a" : 1.0 }', "null", "[1e3]", '"\\u00fc"'])
def test_an_envelope_is_json_around_the_untouched_payload(payload):
    id_ = new_id()

    body = of("envelope", payload, message_id=id_).body

    assert body is not None
    read = json.loads(body)
    assert read == {
        "type": "invoice.paid",
        "timestamp": read["timestamp"],
        "data": json.loads(payload),
    }
    assert datetime.fromisoformat(read["timestamp"]) == born_at(id_)
    assert read["timestamp"].endswith("Z")
    assert body.endswith(f'"data":{payload}}}')


def test_the_same_message_makes_the_same_envelope():
    id_ = new_id()

    for style in ("payload", "envelope", "cloudevents"):
        assert of(style, message_id=id_) == of(style, message_id=id_)


def test_a_cloud_event_has_what_the_standard_requires():
    headers = of("cloudevents").headers

    assert {"ce-specversion", "ce-id", "ce-source", "ce-type"} <= headers.keys()
    assert "ce-partitionkey" not in headers


@given(st.text(min_size=1, max_size=50))
def test_a_key_is_spelled_so_that_it_is_read_again(key):
    """CloudEvents HTTP binding 1.0, section 3.1.3.2."""
    spelled = of("cloudevents", ordering_key=key).headers["ce-partitionkey"]

    assert all("\x21" <= char <= "\x7e" for char in spelled)
    assert not {'"', " "} & set(spelled)
    assert unquote(spelled) == key
