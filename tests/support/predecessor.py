"""The version before this one, out of the history, as a tree of its own."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT


class Unknown(LookupError):  # noqa: N818
    """The history does not say, or is not here."""


def predecessor(given: str = "") -> str:
    """Return the commit to upgrade from.

    The one that is *given*; or the last release before this commit; or, while there is
    none, the last commit that did not know the newest migration.  Raises `Unknown`.
    """
    if given:
        return _git("rev-parse", "--verify", f"{given}^{{commit}}")
    try:
        return _git("rev-list", "-1", _git("describe", "--tags", "--abbrev=0", "HEAD^"))
    except Unknown:
        pass
    newest = max((ROOT / "libs/common/schema").glob("*.sql"))
    path = str(newest.relative_to(ROOT))
    landed = _git("log", "-1", "--format=%H", "--diff-filter=A", "--", path)
    return _git("rev-parse", "--verify", f"{landed}^")


def export(commit: str, directory: Path) -> Path:
    """Write the tree of *commit* into *directory*, and return that."""
    directory.mkdir(parents=True)
    packed = directory.with_suffix(".tar")
    _git("archive", f"--output={packed}", commit)
    subprocess.run(["tar", "-xf", packed, "-C", directory], check=True)
    packed.unlink()
    return directory


async def migrate_with(tree: Path, database_url: str) -> None:
    """Bring a database to the schema of *tree*, by its own code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MIGRATE, database_url), cwd=tree
    )
    assert await process.wait() == 0


_MIGRATE = """
import asyncio, sys
from libs.common.migrate import migrate
asyncio.run(migrate(sys.argv[1]))
"""


def _git(*words: str) -> str:
    try:
        said = subprocess.run(
            ["git", "-C", ROOT, *words], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unknown(f"git {words[0]}: {error}") from error
    if not said.stdout.strip() and words[0] != "archive":
        raise Unknown(f"git {words[0]} knows of none")
    return said.stdout.strip()
