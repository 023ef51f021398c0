"""What a query asks for, as Prometheus's own grammar has it."""

from collections.abc import Iterator
from typing import Any

import promql_parser
from promql_parser import AggModifierType, AggregateExpr, VectorSelector


def series_in(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series that *query* asks for: its name, and the labels it names.

    Raises `ValueError` when it is no query.
    """

    for node in _parts(promql_parser.parse(query)):
        if isinstance(node, VectorSelector):
            yield node.name or "", {one.name for one in node.matchers.matchers}


def kept_in(query: str) -> Iterator[set[str]]:
    """Yield the labels by which each aggregation in *query* keeps series apart."""
    for node in _parts(promql_parser.parse(query)):
        if isinstance(node, AggregateExpr):
            by = node.modifier
            yield set(by.labels) if by and by.type == AggModifierType.By else set()


def _parts(node: Any) -> Iterator[Any]:
    """Yield *node* and all that is in it."""
    yield node
    for part in ("lhs", "rhs", "expr", "args", "vector_selector"):
        inner = getattr(node, part, None)
        if isinstance(inner, list):
            for one in inner:
                yield from _parts(one)
        elif inner is not None:
            yield from _parts(inner)
