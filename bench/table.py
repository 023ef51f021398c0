"""The results: as a table for people, as JSON for programs."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.row import REQUEST_P50, REQUEST_P99, Row

_PROCESSES = (
    *("ingest", "dispatcher", "delivery", "scheduler", "streamer"),
    *("postgres", "nats", "sink", "load"),
)


def results(rows: Sequence[Row]) -> str:
    """Return how fast each row was."""
    head = ["", "jobs/s", "target", "p50 ms", "p99 ms", "events", "ratio", "beside"]
    return _table(head, [_result(row) for row in rows])


def cpu(rows: Sequence[Row]) -> str:
    """Return the CPU each process used, in µs a job, and how busy the machine was."""
    body = [
        [
            row.name,
            *(_microseconds(row, name) for name in _PROCESSES),
            f"{sum(row.cpu_seconds.values()) / row.seconds:.2f} of {os.cpu_count()}",
            f"{row.strangers:.2f}",
        ]
        for row in rows
    ]
    return _table(["CPU µs a job", *_PROCESSES, "busy", "strangers"], body)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the results where programs find them."""
    data = [
        {
            "name": row.name,
            "rate": row.rate,
            "unit": "jobs/s",
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            **row.more,
            "jobs": row.jobs,
            "seconds": round(row.seconds, 3),
            "target": row.target,
            "target_ratio": row.target_ratio,
            "ratio": row.ratio,
            "ceilings": {name: asdict(one) for name, one in row.ceilings.items()},
            "floor_ms": row.floor_ms,
            "cpu_seconds": row.cpu_seconds,
            "strangers_cores": row.strangers,
            "events_late_seconds": row.events_late_seconds,
        }
        for row in rows
    ]
    path.write_text(json.dumps(data, indent=2) + "\n")


def _result(row: Row) -> list[str]:
    beside = [
        f"{name} {one.rate:,.0f}/s at {one.cpu_seconds * 1e6:,.0f} µs"
        for name, one in row.ceilings.items()
    ]
    if row.floor_ms is not None:
        beside += [
            f"from the request on {row.more[REQUEST_P50]:.1f} ms",
            f"p99 {row.more[REQUEST_P99]:.1f} ms",
            f"a commit and a post {row.floor_ms:.1f} ms",
        ]
    return [
        row.name,
        f"{row.rate:,.0f}",
        _verdict(row),
        "" if row.p50_ms is None else f"{row.p50_ms:.1f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
        f"+{row.events_late_seconds:.1f} s",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        ", ".join(beside),
    ]


def _verdict(row: Row) -> str:
    if row.target_ratio is not None and row.ratio is not None:
        verdict = "met" if row.ratio >= row.target_ratio else "missed"
        return f"{verdict} (ratio {row.target_ratio:g})"
    if row.target is None:
        return ""
    return f"{'met' if row.rate >= row.target else 'missed'} ({row.target:,.0f})"


def _microseconds(row: Row, process: str) -> str:
    seconds = row.cpu_seconds.get(process)
    return "" if seconds is None else f"{seconds / row.jobs * 1e6:,.0f}"


def _table(head: list[str], body: list[list[str]]) -> str:
    left = head.index("beside") if "beside" in head else 0
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place in {0, left} else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *body)
    ]
    return "\n".join(line.rstrip() for line in lines)
