"""The results: as a table for people, as JSON for programs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Row

_PROCESSES = (
    *("ingest", "dispatcher", "delivery", "scheduler", "streamer"),
    *("postgres", "nats", "sink", "load"),
)


def results(rows: Sequence[Row]) -> str:
    """Return how fast each row was."""
    head = ["", "rate", "target", "p50 ms", "p99 ms", "ratio", "ceilings", "events"]
    return _table(head, [_result(row) for row in rows])


def cpu(rows: Sequence[Row]) -> str:
    """Return the CPU each process used, in µs a job, and how busy the machine was."""
    body = [
        [
            row.name,
            *(_microseconds(row, name) for name in _PROCESSES),
            f"{sum(row.cpu_seconds.values()) / row.seconds:.2f} of {os.cpu_count()}",
        ]
        for row in rows
    ]
    return _table(["CPU µs a job", *_PROCESSES, "busy"], body)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the results where programs find them."""
    data = [
        {
            "name": row.name,
            "rate": row.rate,
            "unit": row.unit,
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            **row.more,
            "jobs": row.jobs,
            "seconds": round(row.seconds, 3),
            "target": row.target,
            "ratio": row.ratio,
            "ceilings": {name: round(v, 2) for name, v in row.ceilings.items()},
            "cpu_seconds": row.cpu_seconds,
            "events_late_seconds": row.events_late_seconds,
        }
        for row in rows
    ]
    path.write_text(json.dumps(data, indent=2) + "\n")


def _result(row: Row) -> list[str]:
    met = "" if row.target is None else f"≥ {row.target:,.0f}"
    if row.target is not None:
        met += " ✓" if row.rate >= row.target else " missed"
    return [
        row.name,
        f"{row.rate:,.0f} {row.unit}",
        met,
        "" if row.p50_ms is None else f"{row.p50_ms:.1f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        ", ".join(f"{name} {value:,.4g}" for name, value in row.ceilings.items()),
        f"+{row.events_late_seconds:.1f} s",
    ]


def _microseconds(row: Row, process: str) -> str:
    seconds = row.cpu_seconds.get(process)
    return "" if seconds is None else f"{seconds / row.jobs * 1e6:,.0f}"


def _table(head: list[str], body: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    return "\n".join(line.rstrip() for line in lines)
