"""For how long something is tried."""

import time
from typing import Final


class Patience:
    """Is over after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._ends_at: Final = time.monotonic() + seconds

    def over(self, after: float = 0.0) -> bool:
        """Return whether to give up, now or *after* so many seconds."""
        return time.monotonic() + after >= self._ends_at
