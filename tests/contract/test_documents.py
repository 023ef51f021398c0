"""The documents say what is, as far as a machine can check it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.rows import NAMES
from libs.common import lifecycle, messages, plans

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
HAND_WRITTEN = sorted(
    path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
)


def test_the_settings_are_shown_as_they_are():
    compare = [sys.executable, ".ci/settings.py", "--check"]
    subprocess.run(compare, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, check=True)


def test_the_plans_are_shown_as_they_are():
    text = (ROOT / "docs/access.md").read_text()
    shown = {
        row[0]: row[1:]
        for row in re.findall(
            r"^\| `(\w+)`" + r" \| ([\d,]+|none)" * 4 + " ", text, re.MULTILINE
        )
    }

    assert shown == {
        limit: tuple(
            "none" if (value := getattr(limits, limit)) is None else f"{value:,}"
            for limits in plans.TIERS.values()
        )
        for limit in plans.Limits.model_fields
    }


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text)

    for target in targets:
        if not target.startswith("http"):
            assert (ROOT / page.parent / target).exists(), target


def test_make_targets_that_are_named_exist():
    targets = set(
        re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )

    for page in HAND_WRITTEN:
        named = set(re.findall(r"`make (\w[\w-]*)`", (ROOT / page).read_text()))
        assert named <= targets, page


def test_the_architecture_names_every_word_place_and_transition():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    words = {
        name
        for name, word in vars(messages).items()
        if isinstance(word, type)
        and issubclass(word, messages.Word)
        and word is not messages.Word
    }

    for name in {*words, *lifecycle.Place, *lifecycle.Transition, *SERVICES}:
        assert re.search(rf"`{name}`", text), name


def test_files_that_are_named_exist():
    for page in HAND_WRITTEN:
        named = re.findall(
            r"`((?:libs|services|tests|docs|deploy|proto)/[\w./-]+)`",
            (ROOT / page).read_text(),
        )
        for name in named:
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_decisions_are_numbered_and_have_the_three_parts():
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))

    assert [int(path.name[:4]) for path in decisions] == list(
        range(1, len(decisions) + 1)
    )
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} ")
        assert re.findall(r"^## (\w+)", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_every_row_that_is_measured_is_explained():
    text = (ROOT / "bench/RESULTS.md").read_text()
    section = text.partition("## The rows")[2].partition("\n## ")[0]

    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == NAMES
