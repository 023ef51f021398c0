"""For how long something is tried."""

import time
from typing import Final


class Patience:
    """Is over after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._ends_at: Final = time.monotonic() + seconds

    def over(self) -> bool:
        """Whether to give up."""
        return time.monotonic() >= self._ends_at
