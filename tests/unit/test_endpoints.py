"""What an endpoint's sealed parts hold: read again as written, and never shown."""

import json

import pytest

from libs.common.endpoints import (
    ApiKey,
    Auth,
    Basic,
    Bearer,
    OAuth2,
    Tls,
    decode_auth,
    decode_tls,
    encode,
)

SECRET = "hunter2"

#: Never edited: what was sealed once is unsealed for ever.
SAMPLES: list[tuple[bytes, Auth]] = [
    (
        b'{"kind":"basic","username":"us","password":"hunter2"}',
        Basic(username="us", password=SECRET),
    ),
    (b'{"kind":"bearer","token":"hunter2"}', Bearer(token=SECRET)),
    (
        b'{"kind":"api_key","header":"X-Key","value":"hunter2"}',
        ApiKey(header="X-Key", value=SECRET),
    ),
    (
        b'{"kind":"oauth2","token_url":"https://a.example/t","client_id":"c","client_'
        b'secret":"hunter2"}',
        OAuth2(token_url="https://a.example/t", client_id="c", client_secret=SECRET),
    ),
    (
        b'{"kind":"oauth2","token_url":"https://a.example/t","client_id":"c","client_'
        b'secret":"hunter2","scope":"a b","audience":"x"}',
        OAuth2(
            token_url="https://a.example/t",
            client_id="c",
            client_secret=SECRET,
            scope="a b",
            audience="x",
        ),
    ),
]
TLS_SAMPLES: list[tuple[bytes, Tls]] = [
    (b"{}", Tls()),
    (b'{"ca":"hunter2"}', Tls(ca=SECRET)),
    (
        b'{"client_certificate":"c","client_key":"hunter2","ca":"a"}',
        Tls(client_certificate="c", client_key=SECRET, ca="a"),
    ),
]


@pytest.mark.parametrize(("wire", "auth"), SAMPLES)
def test_how_to_show_who_we_are_is_read_as_it_was_written(wire, auth):
    assert encode(auth) == wire
    assert decode_auth(wire) == auth


@pytest.mark.parametrize(("wire", "tls"), TLS_SAMPLES)
def test_certificates_are_read_as_they_were_written(wire, tls):
    assert encode(tls) == wire
    assert decode_tls(wire) == tls


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"hunter2",
        b'"hunter2"',
        b'{"kind":"hunter2"}',
        b'{"kind":"bearer"}',
        b'{"kind":"bearer","token":1}',
        b'{"ca":["hunter2"]}',
        b'{"ca":"\xff"}',
        b"[" * 100_000,
    ],
    ids=lambda wire: ascii(wire[:20]),
)
def test_what_cannot_be_read_is_not_quoted(wire):
    for decode in (decode_auth, decode_tls):
        if decode is decode_tls and b"kind" in wire:
            continue
        with pytest.raises(ValueError, match="cannot be read") as caught:
            decode(wire)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_nothing_is_shown_when_it_is_printed():
    parts = [part for _, part in SAMPLES] + [part for _, part in TLS_SAMPLES]
    for part in parts:
        assert SECRET not in f"{part} {part!r} {[part]}"
        assert SECRET in json.dumps(json.loads(encode(part))) or part == Tls()
