"""A sealed secret opens with its key, for its owner, unharmed; and for nobody else."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.sealing import Sealer, Unsealable

OLD, NEW, OTHER = (b64encode(bytes([n]) * 32).decode() for n in range(3))
OWNER = "0191d0a0-0000-7000-8000-000000000001"
SECRET = b"a secret of somebody's"
SEALED = Sealer(NEW).seal(SECRET, owner=OWNER)


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_is_sealed_can_be_opened(secret, owner):
    sealer = Sealer(NEW)
    sealed = sealer.seal(secret, owner=owner)

    assert sealer.unseal(sealed, owner=owner) == secret
    assert len(secret) < 4 or secret not in sealed


def test_sealing_twice_gives_two_texts():
    assert Sealer(NEW).seal(SECRET, owner=OWNER) != SEALED


def test_another_owner_cannot_open_it():
    with pytest.raises(Unsealable):
        Sealer(NEW).unseal(SEALED, owner=OWNER[:-1] + "2")


def test_another_key_cannot_open_it():
    with pytest.raises(Unsealable, match="no key"):
        Sealer(OTHER).unseal(SEALED, owner=OWNER)


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_one_changed_byte_is_noticed(place):
    changed = bytearray(SEALED)
    changed[place] ^= 1

    with pytest.raises(Unsealable):
        Sealer(NEW).unseal(bytes(changed), owner=OWNER)


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_what_was_cut_off_is_noticed(length):
    with pytest.raises(Unsealable):
        Sealer(NEW).unseal(SEALED[:length], owner=OWNER)


def test_the_newest_key_seals_and_every_key_opens():
    """Rotation: both keys are known until the last secret is sealed anew."""
    before = Sealer(OLD).seal(SECRET, owner=OWNER)
    both = Sealer(f"{NEW}, {OLD}")

    assert both.unseal(before, owner=OWNER) == SECRET
    assert Sealer(NEW).unseal(both.seal(SECRET, owner=OWNER), owner=OWNER) == SECRET
    with pytest.raises(Unsealable):
        Sealer(OLD).unseal(both.seal(SECRET, owner=OWNER), owner=OWNER)


@pytest.mark.parametrize(
    "keys",
    [
        "",
        ",",
        "not base64!",
        b64encode(bytes(31)).decode(),
        b64encode(bytes(33)).decode(),
        NEW.rstrip("="),
        f"{NEW},",
        f"{NEW},{OLD[:-4]}",
        "\u00e9" * 44,
    ],
)
def test_what_is_no_key_is_refused_at_once(keys):
    with pytest.raises(ValueError):  # noqa: PT011 - the base64 module has its own words
        Sealer(keys)
