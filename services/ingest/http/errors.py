"""What goes wrong, as HTTP says it: status, ``code`` and ``message`` (contract 1.0)."""

import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from aiohttp import web
from prometheus_client import Counter, Histogram

from libs.common.errors import (
    BellhopError,
    Conflict,
    Fault,
    Forbidden,
    Malformed,
    NotFound,
    TooLarge,
    Transient,
    Unauthorized,
)

log = structlog.get_logger()

REQUESTS: Final = Counter(
    "bellhop_api_requests_total", "Requests answered.", ["method", "status"]
)
DURATION: Final = Histogram(
    "bellhop_api_request_duration_seconds",
    "From the whole request to the answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Of a whole class of errors: status, code.
_KINDS: Final[tuple[tuple[type[BellhopError], int, str], ...]] = (
    (Unauthorized, 401, "UNAUTHORIZED"),
    (Forbidden, 403, "ACCESS_DENIED"),
    (NotFound, 404, "NOT_FOUND"),
    (Conflict, 409, "CONFLICT"),
    (TooLarge, 413, "PAYLOAD_TOO_LARGE"),
)

_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "x-api-version": "1",
}
_REQUEST_ID_MAX: Final = 128


def answer(
    data: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return *data* as JSON."""
    return web.Response(
        body=orjson.dumps(data),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def refusal(status: int, code: str, message: str, **members: object) -> web.Response:
    """Return an error as the contract words it."""
    body = {"code": code, "message": message, "error": code.lower(), **members}
    return answer(body, status=status)


@web.middleware
async def translated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request an id, and every error its words."""
    request_id = request.headers.get("x-request-id", "")
    if not (request_id.isprintable() and 0 < len(request_id) <= _REQUEST_ID_MAX):
        request_id = secrets.token_hex(16)
    started = time.perf_counter()
    try:
        response = await handler(request)
    except BellhopError as error:
        response = _refused(error, request_id)
    except web.HTTPException as error:
        response = _answered(error)
    except Exception:
        # A bug must not take the neighbours along: here a request ends.
        log.exception("request.crashed", path=request.path, request_id=request_id)
        response = refusal(500, "INTERNAL_ERROR", "An internal error occurred")
    if not response.prepared:
        response.headers.update(_SECURITY)
        response.headers["x-request-id"] = request_id
    REQUESTS.labels(request.method, str(response.status)).inc()
    DURATION.observe(time.perf_counter() - started)
    return response


def _refused(error: BellhopError, request_id: str) -> web.Response:
    if isinstance(error, Malformed):
        return _malformed(error)
    if isinstance(error, Transient):
        log.debug("request.postponed", request_id=request_id, cause=str(error))
        response = refusal(
            503, "SERVICE_UNAVAILABLE", "Temporarily unavailable, please try again"
        )
        response.headers["Retry-After"] = "1"
        return response
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return refusal(status, code, str(error))
    raise error


def _malformed(error: Malformed) -> web.Response:
    faults = error.faults or (Fault("request", "is invalid"),)
    first = faults[0]
    message = (
        first.message
        if first.field in first.message
        else f"{first.field}: {first.message}"
    )
    return refusal(
        422 if error.unreadable else 400,
        first.code if first.code.isupper() else "VALIDATION_ERROR",
        message,
        details=[
            {"field": fault.field, "message": fault.message, "code": fault.code}
            for fault in faults
        ],
    )


_WORDS: Final = {
    404: ("NOT_FOUND", "No route matches this path"),
    405: ("METHOD_NOT_ALLOWED", "This path does not support the request method"),
    413: ("PAYLOAD_TOO_LARGE", "The request body is larger than 2 MiB"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The request body must be application/json"),
}


def _answered(error: web.HTTPException) -> web.Response:
    """Put words to what aiohttp itself refuses."""
    code, message = _WORDS.get(
        error.status, (HTTPStatus(error.status).name, error.reason)
    )
    response = refusal(error.status, code, message)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
