"""Which fault falls when, on whom and for how long: drawn from the seed, printable."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.house import KINDS, WITH_POSTGRES

#: fault → how long it lasts, in seconds, at least and at most.
LASTING: Final = {
    "kill": (0.2, 3.0),
    "stop": (1.0, 12.0),
    "term": (0.2, 2.0),
    "clock": (4.0, 10.0),
    "postgres-fast": (0.0, 2.0),
    "postgres-immediate": (0.0, 3.0),
    "terminate": (0.5, 3.0),
    "postgres-partition": (1.0, 10.0),
    "lock": (1.0, 5.0),
    "nats-kill": (0.5, 4.0),
    "nats-wipe": (0.5, 4.0),
    "nats-partition": (1.0, 10.0),
    "nats-full": (2.0, 6.0),
    "receivers": (1.0, 5.0),
}
#: Faults of one replica.
_OF_REPLICA: Final = {"kill", "stop", "term", "clock"}
#: What is locked: the tables on the way of every job.
TABLES: Final = ("ready", "leased", "leases", "scheduled", "lines", "journal")
#: How far a clock is off, in seconds: receivers allow signatures five minutes.
_OFFSETS: Final = (-240.0, -30.0, 45.0, 240.0)
#: How long a process, or a server, may take to be back: the next fault waits that long.
_BACK_SECONDS: Final = 3.0
#: From the end of one fault to the beginning of the next, of those side by side.
_PAUSE_SECONDS: Final = (0.5, 3.0)
#: What the last faults need to be over before a run ends.
_CALM_SECONDS: Final = 2.0
_SIDE_BY_SIDE: Final = 2


@dataclass(frozen=True)
class Planned:
    """One fault: ``at`` counts from the beginning, ``on`` is a replica, or a table."""

    at: float
    fault: str
    on: str
    seconds: float
    #: How far a clock is off.
    offset: float = 0.0

    @property
    def resource(self) -> str:
        """What no two faults have at once."""
        if self.fault in _OF_REPLICA:
            return self.on
        return "postgres" if self.fault in {"terminate", "lock"} else self.family

    @property
    def family(self) -> str:
        return self.fault.partition("-")[0]

    def __str__(self) -> str:
        offset = f" {self.offset:+.0f} s" if self.offset else ""
        what = f"{self.fault} {self.on}{offset}".strip()
        return f"{self.at:7.1f} s  {what} for {self.seconds:.1f} s"


def draw(
    luck: random.Random, *, seconds: float, faults: Sequence[str], replicas: int
) -> list[Planned]:
    """Return the faults of a run: each kind as often as any other, in any order."""
    if not faults:
        return []
    deck = _shuffled(luck, faults)
    victims = {
        "kill": _shuffled(luck, _names(KINDS, replicas)),
        "stop": _shuffled(luck, _names(KINDS, replicas)),
        "term": _shuffled(luck, _names(KINDS, replicas)),
        "clock": _shuffled(luck, _names(KINDS, replicas)),
        "lock": _shuffled(luck, TABLES),
        "nats-partition": _shuffled(luck, [*_names(KINDS[:4], replicas), "everybody"]),
        "postgres-partition": _shuffled(
            luck, [*_names(WITH_POSTGRES, replicas), "everybody"]
        ),
    }
    plan: list[Planned] = []
    busy: dict[str, float] = {}
    hands = [luck.uniform(*_PAUSE_SECONDS) for _ in range(_SIDE_BY_SIDE)]
    while True:
        hand = min(range(_SIDE_BY_SIDE), key=hands.__getitem__)
        fault = next(deck)
        on = next(victims[fault]) if fault in victims else ""
        lasts = round(luck.uniform(*LASTING[fault]), 1)
        offset = luck.choice(_OFFSETS) if fault == "clock" else 0.0
        one = Planned(0, fault, on, lasts, offset)
        at = max(hands[hand], busy.get(one.resource, 0.0))
        if at + lasts + _CALM_SECONDS > seconds:
            return sorted(plan, key=lambda planned: planned.at)
        plan.append(Planned(round(at, 1), fault, on, lasts, offset))
        busy[one.resource] = at + lasts + _BACK_SECONDS
        hands[hand] = at + lasts + luck.uniform(*_PAUSE_SECONDS)


def _names(kinds: Sequence[str], replicas: int) -> list[str]:
    return [f"{kind}#{n}" for kind in kinds for n in range(1, replicas + 1)]


def _shuffled(luck: random.Random, cards: Sequence[str]) -> Iterator[str]:
    while True:
        yield from luck.sample(cards, len(cards))
