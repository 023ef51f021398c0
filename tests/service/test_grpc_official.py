"""The official gRPC client finds what it expects, in clear and over TLS."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from tests.support.house import run_house

ROOT = Path(__file__).parents[2]


async def run_official(*arguments):
    """Run the client in a process of its own; return what it saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.official_grpc"),
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, trouble = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, trouble.decode()
    return json.loads(said)


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_the_official_client_does_all_it_can(
    database_url, nats_url, grpc_port, tenant, tmp_path, tls
):
    knobs, arguments = {}, [grpc_port, tenant.api_key]
    if tls:
        certificate, key = write_certificate(tmp_path, "localhost")
        knobs = {
            "grpc_tls_cert_path": str(certificate),
            "grpc_tls_key_path": str(key),
        }
        arguments.append(certificate)
    async with run_house(
        database_url,
        nats_url,
        services=("ingest", "scheduler"),
        grpc_port=grpc_port,
        **knobs,
    ):
        seen = await run_official(*arguments)

    print("the client took", seen.pop("seconds"), "s")
    assert seen == {
        "dequeued": [[{"n": 1, "deep": {"list": [1, "two"]}}, 3, "processing"]],
        "renewed": [True, True],
        "completed": [True, "completed", {"ok": True}],
        "missing": None,
        "failed": [True, False],
        "stats": [1, 1, 2],
        "errors": ["LEASE_EXPIRED", True, True, True],
        "streamed": [0, 1, 2],
        "talked": [{"n": 7}, True, "NO_JOBS"],
        "worker": ["official-1", 300, True, False, True],
    }
