"""The page of logs has every line that may be logged, and no other."""

import re
from pathlib import Path

from tests.support.log_events import all_lines

PAGE = Path(__file__).parents[2] / "docs/logs.md"
NAME = re.compile(r"[a-z_]+\.[a-z_]+")


def words(cell):
    return frozenset(re.findall(r"[a-z_]+", cell))


def test_the_page_has_every_line_once():
    rows = re.findall(
        r"^\| `([\w.]+\.[\w.]+)` \| ([^|]*) \| ([^|]*) \| (.+) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    shown = [(name, words(levels), words(fields)) for name, levels, fields, _ in rows]

    assert shown == [
        (line.name, line.levels, line.fields) for _, line in sorted(all_lines().items())
    ]


def test_events_are_named_alike():
    assert [name for name in all_lines() if not NAME.fullmatch(name)] == []
