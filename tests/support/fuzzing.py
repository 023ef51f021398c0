"""How long to fuzz, and from which seed: bounded every day, longer when asked."""

import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fuzzing:
    """``--seconds`` to go on for, beginning with ``--seed``."""

    seconds: float
    seed: int

    def rounds(self) -> Iterator[int]:
        """Yield a seed for each round: one at least, and more until time is over."""
        deadline, seed = time.monotonic() + self.seconds, self.seed
        while seed == self.seed or time.monotonic() < deadline:
            yield seed
            seed += 1
