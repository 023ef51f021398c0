"""One supervisor a data directory: who holds its lock is running."""

import fcntl
import time
from pathlib import Path
from typing import Final, TextIO

from libs.common.errors import BellhopError

#: Whoever only looks holds the lock for an instant.
_TRIES_MAX: Final = 10
_TRY_SECONDS: Final = 0.02


class AlreadyRuns(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """Another supervisor holds the data directory."""


def take_lock(data_dir: Path, *, pid: int) -> TextIO:
    """Take the lock for as long as the file that is returned is open.

    It goes with the process, however that ends.  Raises `AlreadyRuns`.
    """
    lock = (data_dir / "lock").open("a+")
    for _ in range(_TRIES_MAX):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_SECONDS)
        else:
            lock.truncate(0)
            lock.write(f"{pid}\n")
            lock.flush()
            return lock
    lock.close()
    raise AlreadyRuns(
        f"a stack already runs in {data_dir} (pid {holder(data_dir)}). `make stop` "
        "stops it; BELLHOP_DATA_DIR names a place for another one"
    )


def holder(data_dir: Path) -> int | None:
    """Return the pid of the supervisor that holds the lock, or None."""
    try:
        with (data_dir / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
    except FileNotFoundError:
        pass
    return None
