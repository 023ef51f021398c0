"""The services' warnings and errors, on the terminal; their logs have everything."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 0.5
#: The same event of the same service is not told again for this long.
_REPEAT_SECONDS: Final = 10.0
_LINE_CHARACTERS_MAX: Final = 160
_TOLD: Final = frozenset({"warning", "error", "critical"})
#: What a line has besides its own facts.
_COMMON: Final = frozenset({"event", "level", "service", "timestamp", "exception"})


class LogWatch:
    """Follows log files and tells of what a person should see."""

    def __init__(self, logs: Sequence[Path], say: Callable[[str], None]) -> None:
        self._say: Final = say
        self._read: Final = {log: _size(log) for log in logs}
        self._told_at: Final[dict[tuple[str, str], float]] = {}

    async def follow(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            for log in self._read:
                for line in self._new_lines(log):
                    self._tell(log.stem, line)
            await asyncio.sleep(_LOOK_SECONDS)

    def _new_lines(self, log: Path) -> Iterator[str]:
        """Return what was added since the last look, in whole lines."""
        # A file that became shorter was put aside, and begun anew.
        position = self._read[log] if self._read[log] <= _size(log) else 0
        try:
            with log.open("rb") as file:
                file.seek(position)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._read[log] = position + len(whole)
        yield from whole.decode(errors="replace").splitlines()

    def _tell(self, service: str, line: str) -> None:
        try:
            facts = json.loads(line)
        except ValueError:
            return
        if not isinstance(facts, dict) or facts.get("level") not in _TOLD:
            return
        event = str(facts.get("event"))
        now = time.monotonic()
        if (
            now - self._told_at.get((service, event), -_REPEAT_SECONDS)
            < _REPEAT_SECONDS
        ):
            return
        self._told_at[service, event] = now
        details = " ".join(f"{k}={v}" for k, v in facts.items() if k not in _COMMON)
        text = f"{service}: {event} {details}".rstrip()
        self._say(f"  {facts['level']}  {text[:_LINE_CHARACTERS_MAX]}")


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
