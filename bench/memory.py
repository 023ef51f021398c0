"""How much memory processes have, and the most that they had (Linux)."""

from pathlib import Path
from typing import Final

_STATUS_UNIT: Final = 1024
#: What makes the kernel begin anew with the most (proc(5), ``clear_refs``).
_FORGET_PEAK: Final = "5"


def resident_mb(pid: int) -> float:
    """Return how much memory a process has resident now."""
    return _status(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """Return the most that it had, since it began or since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Begin anew with the most of a process of one's own."""
    Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK)


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _STATUS_UNIT / 1e6
    raise ProcessLookupError(pid)
