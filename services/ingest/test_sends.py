"""Attempts for somebody who waits: a pod makes them at once, outside any queue.

Same sender, same guard, same signature as for a job; nothing is kept of it.
"""

from typing import Final

import msgspec

from libs.common.bus import Bus, NobodyListens, Undecided
from libs.common.errors import Unavailable
from libs.common.messages import AttemptWanted, Delivery, Receiver, Verdict

#: What the way there and back may take on top of the attempt itself.
_WAY_SECONDS: Final = 2.0


async def send_once(
    bus: Bus, *, job: Delivery, receiver: Receiver | None, secrets: list[bytes]
) -> Verdict:
    """Let a pod make one attempt, and return how it went.

    When nobody could make it, the verdict says why; raises nothing.
    """
    word = AttemptWanted(job=job, receiver=receiver, secrets=secrets)
    try:
        answer = await bus.ask(
            word.subject, word.encode(), seconds=job.timeout_seconds + _WAY_SECONDS
        )
        return msgspec.json.decode(answer, type=Verdict)
    except NobodyListens:
        error = "no delivery pod is up"
    except Undecided:
        error = "the delivery pod did not answer in time"
    except (Unavailable, msgspec.DecodeError, UnicodeDecodeError):
        error = "delivery cannot be reached"
    return Verdict(job_id=job.job_id, lease_id="", sent=False, error=error)
