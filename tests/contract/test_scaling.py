"""The page on scaling reckons with what was measured, and reckons right."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scaling.md").read_text()
RESULTS = (ROOT / "bench/RESULTS.md").read_text()
PARTS = ("ingest", "dispatcher", "delivery", "scheduler", "postgres", "nats")
#: The machine's own speed is not the same every hour; what is more has changed.
FROM_HOUR_TO_HOUR = 0.4
#: How busy a core may be.
BUSY = 0.6


def cells(line):
    return [cell.strip(" `") for cell in line.strip("|").split("|")]


def costs(text, heading, row):
    """CPU µs a job, by part, of one row of a table that begins with *heading*."""
    table = text[text.index(heading) :]
    names = cells(table.split("\n", maxsplit=1)[0])
    found = re.search(rf"^\| `?{row}`? .*$", table, re.MULTILINE)
    assert found, row
    return dict(zip(names, cells(found[0]), strict=True))


@pytest.mark.parametrize("row", ["webhook_sustained", "webhook_drain"])
def test_what_a_job_costs_is_about_what_was_measured(row):
    said = costs(PAGE, "| CPU µs a job ", row)
    measured = costs(RESULTS, "| CPU µs a job ", row)

    for part in PARTS:
        known, newest = float(said[part]), float(measured[part])
        assert abs(known - newest) <= max(FROM_HOUR_TO_HOUR * known, 5), part


def test_what_is_needed_follows_from_it():
    cost = costs(PAGE, "| CPU µs a job ", "webhook_sustained")
    rows = re.findall(r"^\| ([\d,]+) \|(.*)\|$", PAGE, re.MULTILINE)

    assert len(rows) >= 3
    for rate, line in rows:
        a_second = int(rate.replace(",", ""))
        *cores, under_way = cells(line)
        for part, said in zip(PARTS, cores, strict=True):
            needed = a_second * float(cost[part]) / 1e6 / BUSY
            assert abs(float(said) - needed) <= 0.1, (rate, part, needed)
        assert int(under_way.replace(",", "")) == a_second / 10
