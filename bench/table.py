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
#: Columns of words, not of figures.
_WORDS = ("row", "target", "beside", "CPU µs a job", "peer", "version", "Bellhop is")


def results(rows: Sequence[Row]) -> str:
    """Return how fast each row was."""
    head = ["row", "jobs/s", "spread", "target", "p50 ms", "p99 ms", "events", "ratio"]
    return markdown([*head, "beside"], [_result(row) for row in rows])


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
    return markdown(["CPU µs a job", *_PROCESSES, "busy", "strangers"], body)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the results where programs find them."""
    data = [
        {
            "name": row.name,
            "rate": row.rate,
            "unit": f"{row.unit}/s",
            "roofline": None if row.roofline is None else round(row.roofline.rate, 1),
            "ratio": row.ratio,
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            **row.more,
            "jobs": row.jobs,
            "seconds": round(row.seconds, 3),
            "target": row.target,
            "target_ratio": row.target_ratio,
            "target_p50_ms": row.target_p50_ms,
            "memory_mb": row.memory_mb,
            "target_memory_mb": row.target_memory_mb,
            "runs": row.runs,
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
    if row.memory_mb is not None:
        beside.append(f"streamer {row.memory_mb:,.0f} MB")
    return [
        row.name,
        f"{row.rate:,.0f}",
        spread(row),
        _verdict(row),
        "" if row.p50_ms is None else f"{row.p50_ms:.1f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.1f}",
        f"+{row.events_late_seconds:.1f} s",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        ", ".join(beside),
    ]


def spread(row: Row) -> str:
    """Return how far the runs lie apart, as a part of the middle one."""
    if len(row.runs) < 2:
        return ""
    return f"{(max(row.runs) - min(row.runs)) / row.figure:.0%}"


def _verdict(row: Row) -> str:
    if row.target_ratio is not None and row.ratio is not None:
        return f"{_met(row.ratio >= row.target_ratio)} (ratio {row.target_ratio:g})"
    if row.target_p50_ms is not None and row.p50_ms is not None:
        return f"{_met(row.p50_ms <= row.target_p50_ms)} (p50 {row.target_p50_ms:g} ms)"
    if row.target_memory_mb is not None and row.memory_mb is not None:
        met = _met(row.memory_mb <= row.target_memory_mb)
        return f"{met} ({row.target_memory_mb:g} MB)"
    if row.target is None:
        return ""
    return f"{_met(row.rate >= row.target)} ({row.target:,.0f})"


def _met(whether: bool) -> str:  # noqa: FBT001 - the word for it
    return "met" if whether else "missed"


def _microseconds(row: Row, process: str) -> str:
    # Of a service with several processes it is that of all of them.
    used = [
        seconds
        for name, seconds in row.cpu_seconds.items()
        if name.partition("-")[0] == process
    ]
    if not used:
        return ""
    each = sum(used) / row.jobs * 1e6
    # Of a frame that thousands share it is a fraction.
    return f"{each:,.0f}" if each >= 1 or not each else f"{each:.2f}"


def markdown(head: list[str], body: list[list[str]]) -> str:
    """Return a table of Markdown that can be read as it is; words stand on the left."""
    on_the_left = [name in _WORDS for name in head]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    rule = [
        "-" * width if left else "-" * (width - 1) + ":"
        for width, left in zip(widths, on_the_left, strict=True)
    ]
    lines = [
        " | ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, on_the_left, strict=True)
        )
        for line in (head, rule, *body)
    ]
    return "\n".join(f"| {line} |" for line in lines)
