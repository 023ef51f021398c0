"""Connections whose requests cannot be read at all: they are refused in JSON, too.

What is no HTTP, or has a longer head than we read (8 KiB a line), never becomes a
request that the application sees; aiohttp would say so in plain text.
"""

from http import HTTPStatus

import structlog
from aiohttp import web

from libs.common.ids import new_id
from services.ingest.http.errors import refusal

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """A connection that says in our words what is wrong."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the refusal, after which the connection is closed.

        Raises ``ConnectionError`` when an answer has begun already.
        """
        request_id = str(new_id())
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("connection.crashed", request_id=request_id, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun and cannot be taken back")
        words = (message or "").split("\n", maxsplit=1)[0].strip(" :")
        if status == HTTPStatus.BAD_REQUEST:
            response = refusal(400, "BAD_REQUEST", words or "This is no HTTP request")
        else:
            response = refusal(status, "INTERNAL_ERROR", "An internal error occurred")
        response.headers["x-request-id"] = request_id
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application over such connections."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # The application makes its server itself and can be told of no other.
        server.__class__ = _Server
        return server
