"""The table of what was measured: verdicts, and Markdown that can be read as it is."""

import json

from bench import table
from bench.ceilings import Ceiling
from bench.row import Row, middle


def row(name, **fields):
    known = {"jobs": 10_000, "seconds": 5.0, "cpu_seconds": {}, "strangers": 0.0}
    return Row(name=name, **{**known, **fields})


def cells(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
    ]


def test_each_kind_of_target_gets_its_verdict():
    rows = [
        row("fast", target=2000),
        row("slow", target=2001),
        row("soon", target_p50_ms=5.0, p50_ms=5.0),
        row("late", target_p50_ms=5.0, p50_ms=5.1),
        row("small", target_memory_mb=300.0, memory_mb=300.0),
        row("large", target_memory_mb=300.0, memory_mb=300.1),
        row("free"),
    ]

    head, _, *body = cells(table.results(rows))

    assert [line[head.index("target")] for line in body] == [
        "met (2,000)",
        "missed (2,001)",
        "met (p50 5 ms)",
        "missed (p50 5 ms)",
        "met (300 MB)",
        "missed (300 MB)",
        "",
    ]


def test_figures_stand_on_the_right_and_words_on_the_left():
    head, rule, body = table.results([row("fast", target=1)]).splitlines()

    assert len({len(head), len(rule), len(body)}) == 1
    assert head.startswith("| row  | jobs/s |")
    assert rule.startswith("| ---- | -----: |")
    assert body.startswith("| fast |  2,000 |")


def test_of_several_runs_the_one_in_the_middle_counts():
    runs = [row("fast", jobs=jobs) for jobs in (10_000, 40_000, 20_000)]

    assert middle(runs) is runs[2]
    head, _, body = cells(table.results([runs[2]]))
    assert body[head.index("spread")] == "150%"


def test_a_row_about_latency_is_judged_by_its_p50():
    runs = [
        row("soon", target_p50_ms=5.0, p50_ms=p50, jobs=jobs)
        for p50, jobs in ((3.0, 1), (1.0, 2), (2.0, 3))
    ]

    assert middle(runs).p50_ms == 2.0


def test_programs_find_each_row_beside_its_lowest_ceiling(tmp_path):
    ceilings = {"server": Ceiling(8000, 1e-5), "inserts": Ceiling(4000, 1e-5)}

    table.write(tmp_path / "latest.json", [row("fast", ceilings=ceilings)])

    [found] = json.loads((tmp_path / "latest.json").read_text())
    assert (found["rate"], found["roofline"], found["ratio"]) == (2000, 4000, 0.5)
    assert found["unit"] == "jobs/s"
