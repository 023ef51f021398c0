"""Names of messages, and the patterns that endpoints ask with."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.event_types import (
    NAME_CHARS_MAX,
    Wish,
    is_name,
    is_wanted_pattern,
)

WORDS = st.text("aZ0_", min_size=1, max_size=3)
NAMES = st.builds(
    lambda first, rest: first + "".join(rest),
    WORDS,
    st.lists(st.builds("{}{}".format, st.sampled_from(".-"), WORDS), max_size=4),
)
PATTERNS = st.one_of(st.just("*"), NAMES, NAMES.map("{}.*".format))


def asks_for(pattern, name):
    """Say it another way: by an expression made of the pattern."""
    if pattern == "*":
        return True
    spelled = re.escape(pattern.removesuffix(".*"))
    more = r"\..+" if pattern.endswith(".*") else ""
    return re.fullmatch(spelled + more, name) is not None


@pytest.mark.parametrize(
    "name", ["a", "invoice.paid", "invoice-paid", "A_1.b-c.d", "0", "x" * 256]
)
def test_a_name_is_words_joined(name):
    assert is_name(name)
    assert is_wanted_pattern(name)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "é", "a.*", "*", "-a", "a/b"],
)
def test_anything_else_is_no_name(text):
    assert not is_name(text)


def test_a_name_has_an_end():
    assert not is_name("x" * (NAME_CHARS_MAX + 1))
    assert not is_wanted_pattern("x" * (NAME_CHARS_MAX + 1))


@pytest.mark.parametrize("text", ["", "**", "a*", "*.a", "a.*.b", ".*", "a.**", "a-*"])
def test_a_star_stands_alone_or_at_the_end(text):
    assert not is_wanted_pattern(text)


@pytest.mark.parametrize(
    ("patterns", "name", "wanted"),
    [
        (["*"], "anything.at.all", True),
        (["invoice.paid"], "invoice.paid", True),
        (["invoice.paid"], "invoice.paid.late", False),
        (["invoice.*"], "invoice.paid", True),
        (["invoice.*"], "invoice.paid.late", True),
        (["invoice.*"], "invoice", False),
        (["invoice.*"], "invoices.paid", False),
        (["invoice.*"], "invoice-2.paid", False),
        (["a.b.*"], "a.b", False),
        (["a.b.*", "c"], "a.b.c", True),
        (["a.b.*", "c"], "c", True),
        (["a.b.*", "c"], "b", False),
        ([], "a", False),
    ],
)
def test_an_endpoint_hears_what_it_asks_for(patterns, name, wanted):
    assert Wish(patterns).matches(name) is wanted


@given(st.lists(PATTERNS, max_size=5), NAMES)
def test_many_patterns_are_any_of_them(patterns, name):
    assert all(is_wanted_pattern(one) for one in patterns)
    wanted = any(asks_for(one, name) for one in patterns)
    assert Wish(patterns).matches(name) is wanted
