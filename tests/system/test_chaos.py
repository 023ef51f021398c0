"""A minute of every fault there is: no promise is broken, and a broken one is noticed.

``make chaos`` is the same for longer.  All of it comes from the seed.
"""

import asyncio
import sys

import pytest

from tests.support.processes import ROOT

SEED = 20261130


async def chaos(*arguments):
    """Run it to its end; return the exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos", "--seed", str(SEED), *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    print(said.decode())
    return process.returncode, said.decode()


@pytest.mark.timeout(600)
async def test_through_a_minute_of_faults_every_promise_is_kept():
    code, said = await chaos("--seconds", "60", "--replicas", "2")
    assert code == 0
    assert "every promise was kept" in said


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("build", "says"),
    # What the sound one says of every fault, this among them, stands above.
    [("unfenced", "one owner:"), ("hasty", "accepted is durable:")],
)
async def test_a_build_without_its_fence_or_its_patience_is_caught(build, says):
    arguments = ("--seconds", "15", "--replicas", "1", "--faults", "postgres-immediate")
    ended, said = await chaos(*arguments, "--build", build)
    assert ended == 1
    assert says in said
