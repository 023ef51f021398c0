"""Signing keys: what is spelled is read again, and a stranger reads it too."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import keys

#: The vector of Standard Webhooks.
WHSK = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9l"
    "MicMFs6Kvg=="
)
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_is_read_as_it_was_spelled(secret):
    text = keys.spelled_secret(secret)

    assert text.startswith("whsec_")
    assert keys.read_signing_secret(text) == secret
    assert keys.read_secret(text.rstrip("=")) == secret
    assert keys.read_secret(text.removeprefix("whsec_")) == secret


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_a", "whsec_ä", "whsec_a b=", "="]
)
def test_what_is_no_secret_is_refused_without_being_quoted(text):
    with pytest.raises(ValueError, match=r"^must (be base64|not be empty)$"):
        keys.read_secret(text)


@pytest.mark.parametrize("length", [1, 23, 65])
def test_a_secret_that_is_to_sign_is_neither_short_nor_long(length):
    text = keys.spelled_secret(b"x" * length)

    assert keys.read_secret(text) == b"x" * length
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        keys.read_signing_secret(text)


def test_new_keys_are_of_32_bytes_and_never_the_same():
    assert {len(keys.new_secret()) for _ in range(100)} == {32}
    assert len({keys.new_secret() for _ in range(100)}) == 100


def test_an_ed25519_key_is_spelled_as_the_specification_has_it():
    seed = keys.read_seed(WHSK)

    assert keys.spelled_private_key(seed) == WHSK
    assert keys.spelled_public_key(keys.public_key_of(seed)) == WHPK
    assert keys.read_public_key(WHPK) == keys.public_key_of(seed)
    # The seed alone will do.
    assert keys.read_seed(b64encode(seed).decode()) == seed


@pytest.mark.parametrize(
    "text", ["", "whsk_", "whsk_AAAA", WHSK.replace("Kvg", "Lvg"), WHPK[:-9], "whsk_ü"]
)
def test_what_is_no_private_key_is_refused(text):
    with pytest.raises(ValueError, match=r"^must be "):
        keys.read_seed(text)


@pytest.mark.parametrize("text", ["", "whpk_", "whpk_AAAA", WHSK, "whpk_!"])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ValueError, match=r"^must be "):
        keys.read_public_key(text)
