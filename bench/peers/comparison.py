"""Bellhop beside its peers: ratios, in words, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import table
from bench.row import Row

_HEAD: Final = (
    *("row", "peer", "version", "jobs/s", "spread", "p50 ms", "p99 ms"),
    *("Bellhop", "ratio", "Bellhop is", "strangers"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of one peer, beside Bellhop's."""

    name: str
    peer: str
    bellhop: Row
    version: str = ""
    #: What was measured of the peer; None if it was not, and then why.
    row: Row | None = None
    skipped: str = ""

    @property
    def ratio(self) -> float | None:
        """Bellhop's figure to the peer's: of rates, or of the p50 of latencies."""
        if self.row is None:
            return None
        return round(self.bellhop.figure / self.row.figure, 2)

    @property
    def faster(self) -> bool | None:
        """Whether Bellhop is faster, by any margin."""
        if self.row is None:
            return None
        if self.bellhop.is_latency:
            return self.bellhop.figure < self.row.figure
        return self.bellhop.figure > self.row.figure


def in_words(comparisons: Sequence[Comparison]) -> str:
    """Return one line a row: whether Bellhop is faster than every peer measured."""
    lines = []
    for name in dict.fromkeys(one.name for one in comparisons):
        measured = [one for one in comparisons if one.name == name and one.row]
        slower = [one.peer for one in measured if not one.faster]
        if not measured:
            verdict = "no peer was measured"
        elif slower:
            verdict = f"Bellhop is slower than {', '.join(slower)}"
        else:
            verdict = f"Bellhop is faster than each of {len(measured)}"
        lines.append(f"{name}: {verdict}.")
    return "\n".join(lines)


def as_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table, as it stands in RESULTS.md."""
    return table.markdown(list(_HEAD), [_line(one) for one in comparisons])


def write(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write the comparisons where programs find them."""
    path.write_text(json.dumps([_plain(one) for one in comparisons], indent=2) + "\n")


def _line(one: Comparison) -> list[str]:
    figure = f"{one.bellhop.figure:,.1f} ms"
    if not one.bellhop.is_latency:
        figure = f"{one.bellhop.rate:,.0f}"
    if one.row is None:
        skipped = f"skipped: {one.skipped.splitlines()[0]}"
        return [one.name, one.peer, skipped, "", "", "", "", figure, "", "", ""]
    return [
        one.name,
        one.peer,
        one.version,
        f"{one.row.rate:,.0f}",
        table.spread(one.row),
        "" if one.row.p50_ms is None else f"{one.row.p50_ms:.1f}",
        "" if one.row.p99_ms is None else f"{one.row.p99_ms:.1f}",
        figure,
        f"{one.ratio:.2f}",
        "faster" if one.faster else "slower",
        f"{max(one.row.strangers, one.bellhop.strangers):.2f}",
    ]


def _plain(one: Comparison) -> dict[str, Any]:
    row, bellhop = one.row, one.bellhop
    figure = "p50_ms" if bellhop.is_latency else "rate"
    measured: dict[str, Any] = {"rate": None, "p50_ms": None, "p99_ms": None}
    if row is not None:
        measured = {
            "rate": row.rate,
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            "jobs": row.jobs,
            "seconds": round(row.seconds, 3),
            "runs": row.runs,
            "cpu_seconds": row.cpu_seconds,
            "strangers_cores": row.strangers,
        }
    return {
        "peer": one.peer,
        "version": one.version,
        "name": one.name,
        "unit": "jobs/s",
        **measured,
        #: Which of the two is compared.
        "figure": figure,
        "bellhop": bellhop.figure,
        "bellhop_runs": bellhop.runs,
        "bellhop_strangers_cores": bellhop.strangers,
        "ratio": one.ratio,
        "faster": one.faster,
        "skipped": one.skipped or None,
    }
