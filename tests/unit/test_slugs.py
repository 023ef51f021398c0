"""Slugs: what may be taken, and what a name suggests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest import slugs


@pytest.mark.parametrize("slug", ["abc", "a-1", "acme-2", "x" * 50, "0-0-0"])
def test_a_good_slug_has_no_fault(slug):
    assert slugs.fault_of(slug) is None


@pytest.mark.parametrize(
    ("slug", "word"),
    [
        ("", "characters"),
        ("ab", "characters"),
        ("x" * 51, "characters"),
        ("Acme", "lowercase"),
        ("a--b", "hyphen"),
        ("-ab", "hyphen"),
        ("ab-", "hyphen"),
        ("a b c", "hyphen"),
        ("abc\n", "hyphen"),
        ("admin", "reserved"),
        ("www", "reserved"),
    ],
)
def test_a_bad_slug_is_told_why(slug, word):
    assert word in (slugs.fault_of(slug) or "")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme Corporation", "acme-corporation"),
        ("  Süß & Söhne GmbH!  ", "su-sohne-gmbh"),
        ("Admin", "admin-org"),
        ("X", "x-org"),
        ("字", "org"),
        ("!?", "org"),
    ],
)
def test_a_name_suggests_a_slug(name, slug):
    assert slugs.slug_of(name) == slug


@given(st.text(max_size=200))
def test_whatever_the_name_its_slug_and_its_variants_may_be_taken(name):
    tried = slugs.variants(slugs.slug_of(name))

    assert len(set(tried)) == len(tried)
    assert [slugs.fault_of(slug) for slug in tried] == [None] * len(tried)
