"""The site of the docs has every page, and no reference in it leads to nowhere."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_is_made_without_a_warning(tmp_path):
    made = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning"),
            *("--keep-going", "--doctree-dir", tmp_path / "trees"),
            *(ROOT / "docs", tmp_path / "site"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (made.returncode, made.stderr) == (0, "")
    pages = {path.with_suffix("").name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in (tmp_path / "site").glob("*.html")}


def test_a_page_that_nobody_lists_would_be_found():
    listed = (ROOT / "docs/index.md").read_text().split()

    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in {*listed, "index"}, page.name
