"""Whether clocks agree: signatures, leases and schedules go by them."""

from datetime import datetime
from typing import Final

from libs.cli.doctor.finding import Finding, fail, fine, warn

_APART_SECONDS: Final = 1.0
_TOO_FAR_SECONDS: Final = 30.0


def clock(check: str, there: datetime, here: datetime) -> Finding:
    """Compare another machine's clock with ours."""
    apart = (there - here).total_seconds()
    text = f"{abs(apart):.3f} s {'ahead of' if apart > 0 else 'behind'} this machine"
    if abs(apart) < _APART_SECONDS:
        return fine(check, text)
    judge = warn if abs(apart) < _TOO_FAR_SECONDS else fail
    return judge(check, text, "let every machine follow the same NTP servers")
