"""What is looked at of the services, and of the disk of a stack on this machine."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

from libs.cli.doctor.finding import Finding, fail, fine, warn

_SECONDS: Final = aiohttp.ClientTimeout(total=3)
_LOW_PART: Final = 0.10
_EMPTY_PART: Final = 0.02


async def look_at_services(readiness: dict[str, str]) -> AsyncIterator[Finding]:
    """Ask each service whether it is ready; *readiness* has their addresses."""
    async with aiohttp.ClientSession(timeout=_SECONDS) as http:
        for name, url in readiness.items():
            try:
                async with http.get(url) as answer:
                    text = ", ".join((await answer.text()).split())
                    if answer.ok:
                        yield fine(name, "ready")
                        continue
                    found = f"not ready: {text}" if text else "not ready"
            except (aiohttp.ClientError, TimeoutError) as error:
                found = f"does not answer: {str(error) or type(error).__name__}"
            yield fail(name, found, "look at its log; start it again if it is gone")


def look_at_disk(place: Path) -> Finding:
    """Judge the room that is left where the stack keeps its data."""
    usage = shutil.disk_usage(place)
    part = usage.free / usage.total
    found = f"{usage.free // 2**20} MiB free ({part:.0%})"
    if part < _LOW_PART:
        judge = fail if part < _EMPTY_PART else warn
        return judge("disk", found, "make room: a full disk stops the database")
    return fine("disk", found)
