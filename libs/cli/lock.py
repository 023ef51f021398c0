"""One supervisor a data directory: who holds its lock is running."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from libs.common.errors import BellhopError

#: Whoever only looks holds the lock for an instant.
_TRIES_MAX: Final = 10
_TRY_SECONDS: Final = 0.02


class AlreadyRuns(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """Another supervisor holds the data directory."""


def take_lock(data_dir: Path, *, pid: int) -> None:
    """Take the lock for as long as this process lives, however it ends.

    Raises `AlreadyRuns`.
    """
    # A bare descriptor, closed by nobody but the kernel: when the lock is free again
    # the process is gone, and not only about to go.
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(_TRIES_MAX):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_SECONDS)
        else:
            os.ftruncate(lock, 0)
            os.write(lock, f"{pid}\n".encode())
            return
    os.close(lock)
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
