"""What a job may hope for of those that it waits for: the tests' own opinion.

The fate of a parent is ``open``, ``done``, ``lost``, ``skipped`` (nobody needed it) or
``gone`` (its row is no more).
"""

from collections.abc import Iterable
from typing import NamedTuple


class Edge(NamedTuple):
    """How it stands with one parent, and what is awaited of it."""

    fate: str
    mode: str
    kind: str

    @property
    def is_good(self) -> bool:
        """Whether the parent has ended as it should."""
        match self.kind:
            case "success":
                return self.fate in {"done", "gone"}
            case "completion":
                return self.fate != "open"
            case _:
                return self.fate in {"lost", "gone"}

    @property
    def is_bad(self) -> bool:
        """Whether it never will."""
        match self.kind:
            case "success":
                return self.fate in {"lost", "skipped"}
            case "completion":
                return False
            case _:
                return self.fate in {"done", "skipped"}


def is_met(edges: Iterable[Edge]) -> bool:
    """Whether a child need not wait any more."""
    of_all, of_any = _by_mode(edges)
    return all(edge.is_good for edge in of_all) and (
        not of_any or any(edge.is_good for edge in of_any)
    )


def is_hopeless(edges: Iterable[Edge]) -> bool:
    """Whether it waits in vain."""
    of_all, of_any = _by_mode(edges)
    return any(edge.is_bad for edge in of_all) or (
        bool(of_any) and all(edge.is_bad for edge in of_any)
    )


def _by_mode(edges: Iterable[Edge]) -> tuple[list[Edge], list[Edge]]:
    found = list(edges)
    return (
        [edge for edge in found if edge.mode == "all"],
        [edge for edge in found if edge.mode == "any"],
    )
