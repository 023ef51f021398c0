"""Free ports, below those that outgoing connections take.

The kernel gives outgoing connections ports from 32768 up.  A server that is away for
a moment must not find its port taken by one of them, and a client that knocks at a
closed port in that range can even end up connected to itself.
"""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from libs.common.errors import BellhopError

_FIRST: Final = 20_000
_LAST: Final = 32_000
_TRIES_MAX: Final = 200
#: Not seeded, so that two processes that start alike look in different places.
_CHANCE: Final = random.SystemRandom()
#: What this process was given.  A port is free until its server listens, so asking
#: the kernel alone would now and then give one port to two servers about to start.
#: Of several processes `_claim` keeps them apart.
_given: Final[set[int]] = set()


class NoFreePort(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """Every port that was tried is taken."""


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on *port* now."""
    with socket.socket() as listener:
        # Connections of a server that just left may linger; that harms nobody.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port on which nobody listens, and never the same one twice.

    Raises `NoFreePort`.
    """
    for _ in range(_TRIES_MAX):
        port = _CHANCE.randint(_FIRST, _LAST)
        if port not in _given and take_port(port):
            return port
    raise NoFreePort(f"no free port found between {_FIRST} and {_LAST}")


def take_port(port: int) -> bool:
    """Whether *port* is free, and kept from others of this user from now on."""
    if not (is_free(port) and _claim(port)):
        return False
    _given.add(port)
    return True


def _claim(port: int) -> bool:
    """Whether *port* is this process's alone now, until it ends.

    A file that the user's processes share has a byte for each port; who locked it has
    it.  Where there can be no such file, nobody is kept from anything.
    """
    claims = _claims()
    if claims is None:
        return True
    try:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int | None:
    path = Path(tempfile.gettempdir()) / f"bellhop-ports-{os.getuid()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError:
        return None


def remembered_port(memory: Path) -> int:
    """Return the port noted in *memory* if it is still free, else a new one.

    Free is not enough: somebody else may have chosen it who does not listen yet.
    Whoever gets it to work notes it with `remember_port`.
    """
    try:
        port = int(memory.read_text())
    except (FileNotFoundError, ValueError):
        return free_port()
    return port if take_port(port) else free_port()


def remember_port(memory: Path, port: int) -> None:
    """Note *port* for the next start."""
    memory.write_text(f"{port}\n")
