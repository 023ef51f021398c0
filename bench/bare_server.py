"""The ceiling of taking jobs in: aiohttp, the same check of the body, and no more.

``python -m bench.bare_server PORT``.
"""

import asyncio
import sys
from typing import Any

import orjson
import uvloop
from aiohttp import web

from libs.common.health import serve_http
from libs.common.ids import new_id
from services.ingest.requests.jobs import BulkEnqueue, CreateJob


async def create(request: web.Request) -> web.Response:
    """Check one job."""
    CreateJob.model_validate(orjson.loads(await request.read()))
    return _answer({"id": str(new_id()), "created": True})


async def create_bulk(request: web.Request) -> web.Response:
    """Check a hundred jobs."""
    bulk = BulkEnqueue.model_validate(orjson.loads(await request.read()))
    succeeded = []
    for index, job in enumerate(bulk.jobs):
        CreateJob.model_validate({"queue_name": bulk.queue_name, **dict(job)})
        succeeded.append({"index": index, "job_id": str(new_id()), "created": True})
    return _answer({"succeeded": succeeded})


def _answer(data: Any) -> web.Response:
    return web.Response(
        status=201, body=orjson.dumps(data), content_type="application/json"
    )


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    app = web.Application(client_max_size=2 * 1024 * 1024)
    app.router.add_post("/api/v1/jobs", create)
    app.router.add_post("/api/v1/jobs/bulk", create_bulk)
    async with serve_http(app, host="127.0.0.1", port=port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
