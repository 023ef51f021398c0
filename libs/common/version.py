"""The version of Bellhop that this is; a test checks it by ``pyproject.toml``."""

from typing import Final

VERSION: Final = "0.1.0"
