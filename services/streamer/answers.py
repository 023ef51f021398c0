"""What a client gets instead of a stream: our errors as HTTP (contract 1.0).

Everything is JSON with ``code`` and ``message``, and carries ``x-request-id``.
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import orjson
from aiohttp import web

from libs.common.errors import (
    BellhopError,
    Forbidden,
    Malformed,
    Transient,
    Unauthorized,
)
from services.streamer.feed import TooManyStreams

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_RETRY_AFTER_SECONDS: Final = 5
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_UNROUTED: Final = {
    HTTPStatus.NOT_FOUND: ("NOT_FOUND", "No route matches this path"),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "METHOD_NOT_ALLOWED",
        "This path does not support the request method",
    ),
}


@web.middleware
async def in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors of ours, and of the router, in the contract's shape."""
    try:
        return await handler(request)
    except BellhopError as error:
        return answer_to(error)
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        code, message = _UNROUTED.get(status, ("BAD_REQUEST", error.reason))
        return _answer(status, code, message)


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the headers that the contract promises."""
    asked = request.headers.get("X-Request-Id", "")
    known = _REQUEST_ID.fullmatch(asked)
    response.headers["X-Request-Id"] = asked if known else str(uuid4())
    response.headers["X-Api-Version"] = "1"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if "Origin" in request.headers:
        # Any page may read what it has a credential for: it is never a cookie, so no
        # page can use one that it does not know.
        response.headers["Access-Control-Allow-Origin"] = "*"


async def preflight(request: web.Request) -> web.Response:
    """Let a browser ask with headers of its own, before it does (CORS)."""
    wanted = request.headers.get("Access-Control-Request-Headers", "")
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": wanted,
            "Access-Control-Max-Age": "600",
        },
    )


def answer_to(error: BellhopError) -> web.Response:
    """Return the answer that says *error*."""
    match error:
        case Unauthorized():
            return _answer(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", str(error))
        case Forbidden():
            return _answer(HTTPStatus.FORBIDDEN, "ACCESS_DENIED", str(error))
        case Malformed(faults=faults):
            details = [
                {"field": f.field, "message": f.message, "code": f.code} for f in faults
            ]
            return _answer(
                HTTPStatus.BAD_REQUEST,
                "VALIDATION_ERROR",
                str(error),
                details=details,
            )
        case TooManyStreams():
            return _later(
                HTTPStatus.TOO_MANY_REQUESTS,
                "RATE_LIMIT_EXCEEDED",
                str(error),
                retry_after_secs=_RETRY_AFTER_SECONDS,
            )
        case Transient():
            return _later(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "Not available right now; try again",
            )
        case _:
            raise error


def _later(status: HTTPStatus, code: str, message: str, **more: Any) -> web.Response:
    response = _answer(status, code, message, **more)
    response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def _answer(status: HTTPStatus, code: str, message: str, **more: Any) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(
            {"code": code, "message": message, "error": code.lower(), **more}
        ),
        content_type="application/json",
    )
