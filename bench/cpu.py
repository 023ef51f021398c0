"""Where the time goes: CPU seconds, process by process."""

import time
from collections.abc import Mapping

import psutil

Seconds = dict[str, float]


def used(pids: Mapping[str, int]) -> Seconds:
    """Return the CPU seconds each process has used, with all of its children."""
    return {name: _of(pid) for name, pid in pids.items()}


class Meter:
    """Measures from its making until `stop`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._before = used(pids)
        self._machine = _of_machine()
        self._began = time.monotonic()

    def stop(self, pids: Mapping[str, int], **more: float) -> tuple[Seconds, float]:
        """Return the seconds by process, and how many cores strangers kept busy.

        *more* is what processes used that have ended since.  A process that is new
        began with nothing.
        """
        ours = {**between(self._before, used(pids)), **more}
        everybody = _of_machine() - self._machine
        strangers = (everybody - sum(ours.values())) / (time.monotonic() - self._began)
        return ours, round(max(strangers, 0.0), 2)


def between(before: Seconds, after: Seconds) -> Seconds:
    """Return what was used in between; a process that is new began with nothing."""
    return {
        name: round(now - then if now >= (then := before.get(name, 0.0)) else now, 2)
        for name, now in after.items()
    }


def _of(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        total = _own(process, with_ended=True)
        children = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return 0.0
    for child in children:
        try:
            total += _own(child, with_ended=False)
        except psutil.NoSuchProcess:
            continue
    return total


def _own(process: psutil.Process, *, with_ended: bool) -> float:
    times = process.cpu_times()
    ended = times.children_user + times.children_system if with_ended else 0.0
    return float(times.user + times.system + ended)


def _of_machine() -> float:
    # What interrupts cost is nobody's, and on loopback it is mostly ours.
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)
