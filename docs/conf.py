"""How the site is made of these pages: ``make docs``."""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

_ROOT = Path(__file__).parents[1]
#: A link to what is no page: it stands in the repository, beside this folder.
_OUTWARD = re.compile(r"\[([^\]]+)\]\(\.\./((?!\.\.)[^)\s]+)\)")

project = author = "Bellhop"
release = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"Bellhop {release}"
html_show_copyright = html_show_sphinx = False


def _keep_inside(_: Sphinx, page: str, source: list[str]) -> None:
    """Name what is outside of the site instead of leading to nowhere."""
    if "/" not in page:
        source[0] = _OUTWARD.sub(r"\1 (`\2`)", source[0])


def setup(app: Sphinx) -> None:
    """Hear when a page is read."""
    app.connect("source-read", _keep_inside)
