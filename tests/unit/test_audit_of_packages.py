"""The audit of packages fails for what is known, and never for want of an answer."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from aiohttp import web

from libs.cli.embedded.ports import free_port

AUDIT = Path(__file__).parents[2] / ".ci/audit.py"
WEAK = {
    "id": "GHSA-xxxx-yyyy-zzzz",
    "summary": "weak",
    "affected": [
        {
            "package": {"name": "aiohttp", "ecosystem": "PyPI"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0", "fixed": "99.1"}]}
            ],
        }
    ],
}


async def audit(url, tmp_path):
    """Run the audit; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, AUDIT, "--osv-url", url, "--cache-dir", tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.fixture
async def advisories():
    """Who knows of weaknesses: a function that makes one that answers so."""
    runners = []

    async def answering(answer):
        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}/"

    yield answering
    for runner in runners:
        await runner.cleanup()


async def test_what_is_known_fails(advisories, tmp_path):
    async def answer(request):
        asked = json.loads(await request.read())
        weak = asked["package"]["name"] == "aiohttp"
        return web.json_response({"vulns": [WEAK]} if weak else {})

    code, said = await audit(await advisories(answer), tmp_path)

    assert code == 1
    assert "aiohttp" in said
    assert "GHSA-xxxx-yyyy-zzzz, mended in 99.1" in said


async def test_every_package_is_asked_about(advisories, tmp_path):
    asked = set()

    async def answer(request):
        asked.add(json.loads(await request.read())["package"]["name"])
        return web.json_response({})

    code, said = await audit(await advisories(answer), tmp_path)

    assert code == 0
    assert f"{len(asked)} packages audited, 0 weaknesses known" in said
    assert {"aiohttp", "asyncpg", "cryptography", "nats-py"} <= asked


async def test_nobody_to_ask_is_said_and_fails_nothing(advisories, tmp_path):
    async def answer(_):
        return web.Response(status=503)

    for url in (f"http://127.0.0.1:{free_port()}/", await advisories(answer)):
        code, said = await audit(url, tmp_path)
        assert code == 0
        assert "were not audited" in said
