"""What a query asks for, as Prometheus's own grammar has it."""

from collections.abc import Iterator
from typing import Any

import promql_parser
from promql_parser import VectorSelector


def series_in(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series that *query* asks for: its name, and the labels it names.

    Raises `ValueError` when it is no query.
    """

    def visit(node: Any) -> Iterator[tuple[str, set[str]]]:
        if isinstance(node, VectorSelector):
            yield node.name or "", {one.name for one in node.matchers.matchers}
        for part in ("lhs", "rhs", "expr", "args", "vector_selector"):
            inner = getattr(node, part, None)
            if isinstance(inner, list):
                for one in inner:
                    yield from visit(one)
            elif inner is not None:
                yield from visit(inner)

    yield from visit(promql_parser.parse(query))
