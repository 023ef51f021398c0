"""The Python of docs/workers.md and README.md does what is said, as it stands there."""

import ast
import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.house import open_api

ROOT = Path(__file__).parents[2]
ADDRESS = '"http://127.0.0.1:50051"'


def snippets(page):
    return re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / page).read_text())


WORKER, PRODUCER = snippets("docs/workers.md")
[SPOOLED] = snippets("README.md")


@pytest.fixture
async def api(grpc_house, tenant):
    async with open_api(grpc_house, tenant) as client:
        yield client


@pytest.fixture
def at_home(grpc_port):
    """Return code with the address of this house in place of the usual one."""

    def put(code):
        assert code.count(ADDRESS) == 1
        return code.replace(ADDRESS, f'"http://127.0.0.1:{grpc_port}"')

    return put


@asynccontextmanager
async def program(code, directory):
    """Run code as a program of its own, until SIGTERM at the latest."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_worker_of_the_page_greets_and_ends_on_sigterm(
    api, tenant, tmp_path, at_home
):
    code = f"api_key = {tenant.api_key!r}\n{at_home(WORKER)}"
    job_id = await api.create(queue_name="greetings", payload={"name": "Ada"})
    async with program(code, tmp_path) as worker:
        job = await api.until_status(job_id, "completed", at_most=40)

    assert job["result"] == {"greeting": "Hello, Ada!"}
    assert worker.returncode == 0


async def test_the_producer_of_the_page_hands_in(api, tenant, at_home):
    given = {"api_key": tenant.api_key, "names": ["Grace", "Alan"]}
    code = compile(
        at_home(PRODUCER),
        "docs/workers.md",
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    for _ in range(2):
        await eval(code, given)

    rows = await api.ask("GET", "/jobs?queue_name=greetings", expect=200)
    jobs = [await api.job(row["id"]) for row in rows]
    # The one with a key is there once, however often it was handed in.
    names = sorted(job["payload"]["name"] for job in jobs)
    assert names == ["Ada", "Alan", "Alan", "Grace", "Grace"]
    assert {job["priority"] for job in jobs} == {0, 5}


async def test_the_worker_of_the_readme_adds(
    api, grpc_house, tenant, tmp_path, grpc_port
):
    stack = {
        "base_url": grpc_house.base_url,
        "grpc_address": f"127.0.0.1:{grpc_port}",
        "api_key": tenant.api_key,
    }
    (tmp_path / ".bellhop").mkdir()
    (tmp_path / ".bellhop/stack.json").write_text(json.dumps(stack))
    job_id = await api.create(queue_name="sums", payload={"add": [1, 2]})
    async with program(SPOOLED, tmp_path):
        job = await api.until_status(job_id, "completed", at_most=40)

    assert job["result"] == {"sum": 3}
