"""Which headers a target may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.headers import (
    HEADER_VALUE_CHARS_MAX,
    HEADERS_CHARS_MAX,
    HEADERS_MAX,
    BadHeader,
    check_headers,
    is_reserved,
    is_token,
)

RESERVED = [
    *["Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE"],
    *["Trailer", "Upgrade", "Expect", "Accept-Encoding", "HTTP2-Settings"],
    *["Proxy-Authorization", "Proxy-Connection", "proxy-"],
    *["webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-hops"],
    *["traceparent", "TraceState"],
    *["X-Amz-Date", "x-goog-iam", "X-Azure-Ref"],
]


def code_of(headers):
    with pytest.raises(BadHeader) as caught:
        check_headers(headers)
    return caught.value.code


@pytest.mark.parametrize("name", RESERVED)
def test_what_is_the_senders_business_is_not_the_targets(name):
    assert is_reserved(name)
    assert code_of({name: "x"}) == "header_reserved"


@pytest.mark.parametrize(
    "name", ["Authorization", "X-Spooled-Event", "ce-id", "Cookie", "User-Agent", "x"]
)
def test_others_are(name):
    check_headers({name: "x y\tz", "Another": ""})


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\x00", "(", "a "])
def test_a_name_is_a_token(name):
    assert not is_token(name)
    assert code_of({name: "x"}) == "header_name"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "\x00", "ü", " a", "a ", "\t"])
def test_a_value_cannot_begin_another_header(value):
    assert code_of({"X-A": value}) == "header_value"


def test_there_are_not_too_many_and_they_are_not_too_large():
    check_headers({f"X-{i}": "x" for i in range(HEADERS_MAX)})
    check_headers({"X": "x" * HEADER_VALUE_CHARS_MAX})
    check_headers({"X": "x" * 4094, "Y": "x" * 4096})

    assert code_of({f"X-{i}": "x" for i in range(HEADERS_MAX + 1)}) == "headers_size"
    assert code_of({"X": "x" * (HEADER_VALUE_CHARS_MAX + 1)}) == "header_value"
    assert code_of({"X": "x" * 4095, "Y": "x" * 4096}) == "headers_size"
    assert HEADERS_CHARS_MAX == 8192


def test_a_header_is_named_once_however_it_is_spelled():
    assert code_of({"X-A": "1", "x-a": "2"}) == "header_name"


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3))
def test_what_gets_in_stays_within_its_line(headers):
    try:
        check_headers(headers)
    except BadHeader:
        return

    for name, value in headers.items():
        assert f"{name}: {value}".isascii()
        assert name
        assert ":" not in name
        assert not {"\r", "\n", "\x00"} & {*name, *value}
        assert value == value.strip()
