"""A worker that was out of this world for a while, and what it may still do."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager

from tests.support.processes import ROOT


class Labourer:
    """A worker's process, and what it says."""

    def __init__(self, process):
        self.process = process

    async def said(self, what):
        """Return what the next such request of the worker's was answered."""
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), 30)
            assert line, f"the worker ended before it said {what}"
            said = json.loads(line)
            if said["asked"] == what:
                return said["status"], said["body"]

    async def refused(self, what):
        """Return the first refusal of such a request; what was answered before goes."""
        status, body = await self.said(what)
        while status == 200:
            status, body = await self.said(what)
        return status, body["code"]

    def finish(self):
        """Tell the worker to complete its job."""
        self.process.stdin.write(b"\n")


@asynccontextmanager
async def labourer(api, worker_id):
    """Run a worker until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.labourer",
        api.base_url,
        api.tenant.api_key,
        worker_id,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Labourer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_zombie_is_refused_and_the_second_owner_is_unharmed(api):
    job_id = await api.create(max_retries=3)
    async with labourer(api, "zombie") as zombie:
        _, claimed = await zombie.said("claim")
        assert await zombie.said("heartbeat") == (200, {"success": True})
        zombie.process.send_signal(signal.SIGSTOP)

        async with labourer(api, "second") as second:
            # Its long poll is answered when the zombie's lease has run out.
            _, taken = await second.said("claim")
            zombie.process.send_signal(signal.SIGCONT)
            assert await zombie.refused("heartbeat") == (409, "LEASE_EXPIRED")
            zombie.finish()
            assert await zombie.refused("complete") == (409, "LEASE_EXPIRED")

            second.finish()
            assert await second.said("complete") == (200, {"success": True})

    [first_try], [second_try] = claimed["jobs"], taken["jobs"]
    assert (first_try["id"], second_try["id"]) == (job_id, job_id)
    assert first_try["lease_id"] != second_try["lease_id"]
    job = await api.job(job_id)
    assert (job["status"], job["result"]) == ("completed", {"by": "second"})
    assert job["retry_count"] == 1
    lost, done = await api.attempts(job_id)
    assert (lost["worker_id"], lost["outcome"]) == ("zombie", "lost")
    assert (done["worker_id"], done["outcome"]) == ("second", "delivered")
    assert await api.history(job_id) == [
        *["created", "started", "recovered", "started", "completed"],
    ]
