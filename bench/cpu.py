"""Where the time goes: CPU seconds, process by process."""

from collections.abc import Mapping

import psutil

Seconds = dict[str, float]


def used(pids: Mapping[str, int]) -> Seconds:
    """Return the CPU seconds each process has used, with all of its children."""
    return {name: _of(pid) for name, pid in pids.items()}


def of_machine() -> float:
    """Return the CPU seconds that everything on this machine has used."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest)


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
