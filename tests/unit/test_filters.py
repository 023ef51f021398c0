"""The language of payload filters: what passes, and what is wrong with a filter."""

import json
import math
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.filters import (
    BYTES_MAX,
    DEPTH_MAX,
    LIST_MAX,
    OPERATORS_MAX,
    PATH_CHARS_MAX,
    BadFilter,
    compile_filter,
)

PAID = {
    "data": {
        "amount": 500,
        "currency": "EUR",
        "items": [{"sku": "A-1"}, {"sku": "B-2"}],
        "note": None,
        "live": True,
        "a.b": "dotted",
        "$eq": "named like an operator",
    },
    "type": "invoice.paid",
}


@pytest.mark.parametrize(
    ("spec", "passes"),
    [
        ({}, True),
        ({"type": "invoice.paid"}, True),
        ({"type": "invoice"}, False),
        ({"data.amount": 500}, True),
        ({"data.amount": 500.0}, True),
        ({"data.amount": "500"}, False),
        ({"data.live": True}, True),
        ({"data.live": 1}, False),
        ({"data.amount": True}, False),
        ({"data.note": None}, True),
        ({"data.nothing": None}, False),
        ({"data.items.1.sku": "B-2"}, True),
        ({"data.items.01.sku": "B-2"}, False),
        ({"data.items.2.sku": "B-2"}, False),
        ({"data.items.-1.sku": "B-2"}, False),
        ({"data.items.sku": "B-2"}, False),
        ({r"data.a\.b": "dotted"}, True),
        ({r"data.\$eq": "named like an operator"}, True),
        ({"data.$eq": "named like an operator"}, True),
        ({"data.currency.x": "E"}, False),
        ({"data.amount": 500, "type": "x"}, False),
        ({"data.items": {"$eq": [{"sku": "A-1"}, {"sku": "B-2"}]}}, True),
        ({"data.items": {"$eq": [{"sku": "B-2"}, {"sku": "A-1"}]}}, False),
        ({"data.items.0": {"$eq": {"sku": "A-1"}}}, True),
        ({"data.amount": {"$ne": 500}}, False),
        ({"data.nothing": {"$ne": 500}}, True),
        ({"data.amount": {"$gt": 499, "$lt": 501}}, True),
        ({"data.amount": {"$gt": 500}}, False),
        ({"data.amount": {"$gte": 500, "$lte": 500}}, True),
        ({"data.amount": {"$gt": "4"}}, False),
        ({"data.currency": {"$gte": "EUR", "$lt": "EUS"}}, True),
        ({"data.live": {"$gte": 0}}, False),
        ({"data.nothing": {"$lt": 5}}, False),
        ({"data.currency": {"$in": ["USD", "EUR"]}}, True),
        ({"data.currency": {"$in": ["USD"]}}, False),
        ({"data.nothing": {"$in": [None]}}, False),
        ({"data.currency": {"$nin": ["USD", "EUR"]}}, False),
        ({"data.nothing": {"$nin": [None]}}, True),
        ({"data.note": {"$exists": True}}, True),
        ({"data.nothing": {"$exists": True}}, False),
        ({"data.nothing": {"$exists": False}}, True),
        ({"type": {"$prefix": "invoice."}}, True),
        ({"type": {"$prefix": "refund."}}, False),
        ({"data.amount": {"$prefix": "5"}}, False),
        ({"$or": [{"type": "x"}, {"data.amount": 500}]}, True),
        ({"$or": [{"type": "x"}, {"data.amount": 5}]}, False),
        ({"$and": [{"type": "invoice.paid"}, {"data.amount": 500}]}, True),
        ({"$and": [{"type": "invoice.paid"}, {"data.amount": 5}]}, False),
        ({"$not": {"data.amount": 5}}, True),
        ({"$not": {"data.amount": 500}}, False),
        ({"$not": {"data.nothing": {"$gt": 5}}}, True),
        ({"type": "invoice.paid", "$not": {"data.live": False}}, True),
    ],
)
def test_a_filter_passes_what_it_says(spec, passes):
    assert compile_filter(spec)(PAID) is passes


@pytest.mark.parametrize("payload", [None, 5, "text", [], [1, {"a": 1}], True, 0.5])
def test_a_payload_that_is_no_object_has_no_names(payload):
    assert compile_filter({})(payload) is True
    assert compile_filter({"a": 1})(payload) is False
    assert compile_filter({"a": {"$exists": False}})(payload) is True


def test_a_list_has_indices_at_the_top_too():
    assert compile_filter({"1.a": 1})([1, {"a": 1}]) is True


def nested(depth):
    spec: dict[str, object] = {"a": 1}
    for _ in range(depth):
        spec = {"$not": spec}
    return spec


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        ({"$nor": []}, "$nor"),
        ({"$gt": 5}, "$gt"),
        ({"a": {"$regex": "x"}}, "a.$regex"),
        ({"a": {"b": 5}}, "a.b"),
        ({"a": {}}, "a"),
        ({"a": [1]}, "a"),
        ({"a": {"$gt": None}}, "a.$gt"),
        ({"a": {"$gt": True}}, "a.$gt"),
        ({"a": {"$lte": [1]}}, "a.$lte"),
        ({"a": {"$in": 5}}, "a.$in"),
        ({"a": {"$in": []}}, "a.$in"),
        ({"a": {"$nin": [1] * (LIST_MAX + 1)}}, "a.$nin"),
        ({"a": {"$exists": 1}}, "a.$exists"),
        ({"a": {"$prefix": 5}}, "a.$prefix"),
        ({"$and": {"a": 1}}, "$and"),
        ({"$or": []}, "$or"),
        ({"$or": [{"a": 1}, 5]}, "$or.1"),
        ({"$or": [{"a": 1}, {"b": {"$gt": []}}]}, "$or.1.b.$gt"),
        ({"$not": [1]}, "$not"),
        ({"a.": 1}, "a."),
        ({"": 1}, ""),
        ({"a..b": 1}, "a..b"),
        ({"a\\": 1}, "a\\"),
        ({"a" * (PATH_CHARS_MAX + 1): 1}, "a" * (PATH_CHARS_MAX + 1)),
        (nested(DEPTH_MAX + 1), ".".join(["$not"] * (DEPTH_MAX + 1))),
        ({f"a{n}": n for n in range(OPERATORS_MAX + 1)}, f"a{OPERATORS_MAX}"),
        ({"a": "x" * BYTES_MAX}, ""),
    ],
)
def test_a_bad_filter_is_told_where(spec, place):
    with pytest.raises(BadFilter) as caught:
        compile_filter(spec)

    assert caught.value.place == place
    assert caught.value.words


def test_the_limits_themselves_are_good():
    assert compile_filter(nested(DEPTH_MAX))({"a": 1}) is (DEPTH_MAX % 2 == 0)
    compile_filter({f"a{n}": n for n in range(OPERATORS_MAX)})
    compile_filter({"a" * PATH_CHARS_MAX: {"$in": [1] * LIST_MAX}})


def test_payloads_as_deep_as_they_are_read_are_compared():
    deep = orjson.loads("[" * 1000 + "]" * 1000)

    assert compile_filter({"a": {"$eq": [[[]]]}})({"a": deep}) is False
    assert compile_filter({"0.0.0": {"$exists": True}})(deep) is True


# --- properties ----------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3).map(lambda n: round(n, 1)),
    st.sampled_from(["", "a", "ab", "b", "1", "é"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "0", "$eq"]), inner, max_size=3),
    ),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from(["a", "b", "0", "1"]), min_size=1, max_size=3).map(
    ".".join
)
CONDITIONS = st.one_of(
    SCALARS,
    st.fixed_dictionaries(
        {},
        optional={
            "$eq": JSON,
            "$ne": JSON,
            "$gt": st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b"])),
            "$gte": st.integers(-3, 3),
            "$lt": st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b"])),
            "$lte": st.integers(-3, 3),
            "$in": st.lists(JSON, min_size=1, max_size=3),
            "$nin": st.lists(JSON, min_size=1, max_size=3),
            "$exists": st.booleans(),
            "$prefix": st.sampled_from(["", "a", "ab"]),
        },
    ).filter(bool),
)
FILTERS = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=6,
)


def canonical(value):
    """Spell JSON so that what is the same is spelled the same."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"n{float(value) + 0.0}"
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    return f"{{{','.join(sorted(f'{k!r}:{canonical(v)}' for k, v in value.items()))}}}"


def looked_up(payload, path):
    """Return what stands at a path, in a list of one, or an empty list."""
    for step in path.split("."):
        if isinstance(payload, dict) and step in payload:
            payload = payload[step]
        elif isinstance(payload, list) and step.isdigit() and int(step) < len(payload):
            payload = payload[int(step)]
        else:
            return []
    return [payload]


def same(operand, found):
    return [canonical(operand)] == [canonical(one) for one in found]


def comparable(operand, found):
    """What of *found* is of the operand's kind."""
    text = isinstance(operand, str)
    return [x for x in found if (type(x) is str if text else type(x) in (int, float))]


#: Each operator, in the plainest words there are for it.
HOLDS = {
    "$eq": same,
    "$ne": lambda operand, found: not same(operand, found),
    "$in": lambda operand, found: any(same(one, found) for one in operand),
    "$nin": lambda operand, found: not any(same(one, found) for one in operand),
    "$exists": lambda operand, found: bool(found) is operand,
    "$prefix": lambda operand, found: any(
        one[: len(operand)] == operand for one in comparable(operand, found)
    ),
    "$gt": lambda operand, found: any(
        one > operand for one in comparable(operand, found)
    ),
    "$gte": lambda operand, found: any(
        not one < operand for one in comparable(operand, found)
    ),
    "$lt": lambda operand, found: any(
        one < operand for one in comparable(operand, found)
    ),
    "$lte": lambda operand, found: any(
        not one > operand for one in comparable(operand, found)
    ),
}


def passes(spec, payload):
    """The whole language again, slowly."""
    for name, value in spec.items():
        if name == "$and":
            good = all(passes(one, payload) for one in value)
        elif name == "$or":
            good = any(passes(one, payload) for one in value)
        elif name == "$not":
            good = not passes(value, payload)
        else:
            asked = value if isinstance(value, dict) else {"$eq": value}
            found = looked_up(payload, name)
            good = all(HOLDS[op](operand, found) for op, operand in asked.items())
        if not good:
            return False
    return True


@given(FILTERS, JSON)
def test_a_compiled_filter_says_what_the_language_says(spec, payload):
    assert compile_filter(spec)(payload) is passes(spec, payload)


@given(FILTERS, JSON)
def test_what_is_not_is_the_opposite(spec, payload):
    assert compile_filter({"$not": spec})(payload) is not compile_filter(spec)(payload)


@given(FILTERS, FILTERS, JSON)
def test_neither_is_the_same_as_not_either(one, other, payload):
    neither = compile_filter({"$not": {"$or": [one, other]}})
    not_both = compile_filter({"$and": [{"$not": one}, {"$not": other}]})

    assert neither(payload) is not_both(payload)


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["$and", "$or", "$not", "$gt", "$in", "a", "a.b", "."]),
                inner,
                max_size=3,
            ),
        ),
        max_leaves=12,
    ),
    JSON,
)
def test_anything_is_a_filter_or_is_told_what_is_wrong(spec, payload):
    test = None
    with suppress(BadFilter):
        test = compile_filter(spec)
    assert test is None or test(payload) in (True, False)


def test_numbers_at_the_edge_are_numbers():
    assert compile_filter({"a": {"$gt": 2**53}})({"a": 2**53 + 1}) is True
    assert compile_filter({"a": {"$lt": 1e308}})({"a": -math.inf}) is True
