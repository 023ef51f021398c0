"""The table of what was measured: verdicts, and Markdown that can be read as it is."""

from bench import table
from bench.row import Row


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
        row("free"),
    ]

    head, _, *body = cells(table.results(rows))

    assert [line[head.index("target")] for line in body] == [
        "met (2,000)",
        "missed (2,001)",
        "met (p50 5 ms)",
        "missed (p50 5 ms)",
        "",
    ]


def test_figures_stand_on_the_right_and_words_on_the_left():
    head, rule, body = table.results([row("fast", target=1)]).splitlines()

    assert len({len(head), len(rule), len(body)}) == 1
    assert head.startswith("| row  | jobs/s |")
    assert rule.startswith("| ---- | -----: |")
    assert body.startswith("| fast |  2,000 |")
