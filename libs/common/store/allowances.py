"""Allowances: how far the rates of organizations and keys are spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.db import Conn
from libs.common.sql import load

SQL: Final = load(__package__, "allowances")


@dataclass(frozen=True, slots=True)
class Taking:
    """Whose rate to take from, and how many pieces."""

    subject: str
    piece_seconds: float
    burst: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Taken:
    """How many pieces there were, and in how many seconds all have grown back."""

    granted: int
    spent_seconds: float


async def take(conn: Conn, *, takings: Sequence[Taking]) -> list[Taken]:
    """Take from rates, each named once; return what each gave, in the same order."""
    ordered = sorted(takings, key=lambda one: one.subject)
    rows = await conn.fetch(
        SQL["take"],
        [one.subject for one in ordered],
        [one.piece_seconds for one in ordered],
        [one.burst for one in ordered],
        [one.wanted for one in ordered],
    )
    found = {
        row["subject"]: Taken(row["granted"], max(0.0, row["spent_seconds"]))
        for row in rows
    }
    return [found[one.subject] for one in takings]


async def forget_allowances(conn: Conn, *, at_most: int) -> None:
    """Delete allowances that are whole again."""
    await conn.execute(SQL["forget_allowances"], at_most)
