"""What goes wrong, as HTTP says it: status, ``code`` and ``message`` (contract 1.0).

One table says it for every kind of error; gRPC has its own of the same kinds.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Any, Final
from urllib.parse import quote

import orjson
import structlog
import uuid_utils
from aiohttp import web
from prometheus_client import Counter

from libs.common import tracing
from libs.common.errors import (
    BellhopError,
    Conflict,
    Fault,
    FeatureDisabled,
    Forbidden,
    LeaseExpired,
    LoopDetected,
    Malformed,
    NotAdmin,
    NotFound,
    PayloadOverPlan,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Transient,
    Unauthorized,
)
from libs.common.metrics import Distribution
from services.ingest.answers.errors import FieldFault
from services.ingest.http import audit
from services.ingest.http.bodies import BODIES
from services.ingest.http.deadlines import Watchdog
from services.ingest.http.ignored import ignored_headers
from services.ingest.http.manners import DEADLINE, MANNERS, takes, wrong_version
from services.ingest.http.rates import rate_headers
from services.ingest.http.reading import SETTINGS

log = structlog.get_logger()

REQUESTS: Final = Counter(
    "bellhop_api_requests_total", "Requests answered.", ["method", "status"]
)
DURATION: Final = Distribution(
    "bellhop_api_request_duration_seconds",
    "From the whole request to the answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Methods that the figures tell apart; a client may make up any number of others.
_COUNTED: Final = frozenset(
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
)
_SAFE: Final = frozenset(["GET", "HEAD", "OPTIONS"])
_REQUEST_ID_MAX: Final = 128
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of error is said: its own words where *message* is None."""

    status: int
    code: str
    message: str | None = None
    members: Callable[[Any], dict[str, Any]] = lambda _: {}
    headers: Callable[[Any], dict[str, str]] = lambda _: {}


def _of_quota(error: QuotaExceeded) -> dict[str, Any]:
    members = {
        "error": "limit_exceeded",
        "resource": error.resource,
        "current": error.current,
        "limit": error.limit,
        "plan": error.plan,
    }
    if error.upgrade_to is not None:
        members["upgrade_to"] = error.upgrade_to
    return members


def _of_payload(error: PayloadOverPlan) -> dict[str, Any]:
    return {
        "current": error.current,
        "limit": error.limit,
        "plan": error.plan,
        "upgrade_to": error.plan != "enterprise",
    }


def _seconds(error: RateLimited) -> int:
    return max(1, ceil(error.retry_after_seconds))


def _of_rate(error: RateLimited) -> dict[str, Any]:
    return {
        "retry_after_secs": _seconds(error),
        "limit": error.limit,
        "remaining": 0,
        "reset_at": error.reset_at,
    }


_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}

#: Every kind of error that may reach the door, the most special one that fits.
_KINDS: Final[dict[type[BellhopError], _Kind]] = {
    Unauthorized: _Kind(401, "UNAUTHORIZED", headers=lambda _: _CHALLENGE),
    NotAdmin: _Kind(401, "UNAUTHORIZED", members=lambda error: {"error": error.reason}),
    Forbidden: _Kind(403, "ACCESS_DENIED"),
    FeatureDisabled: _Kind(403, "FEATURE_DISABLED"),
    NotFound: _Kind(404, "NOT_FOUND"),
    Conflict: _Kind(409, "CONFLICT"),
    LeaseExpired: _Kind(409, "LEASE_EXPIRED"),
    TooLarge: _Kind(413, "PAYLOAD_TOO_LARGE"),
    PayloadOverPlan: _Kind(413, "PAYLOAD_TOO_LARGE", members=_of_payload),
    LoopDetected: _Kind(508, "LOOP_DETECTED"),
    QuotaExceeded: _Kind(429, "QUOTA_EXCEEDED", members=_of_quota),
    RateLimited: _Kind(
        429,
        "RATE_LIMIT_EXCEEDED",
        members=_of_rate,
        headers=lambda error: {"Retry-After": str(_seconds(error))},
    ),
    Transient: _Kind(
        503,
        "SERVICE_UNAVAILABLE",
        "Temporarily unavailable, please try again",
        headers=lambda _: {"Retry-After": "1"},
    ),
}

#: What HTTP itself refuses.
_WORDS: Final = {
    401: ("UNAUTHORIZED", "Authentication failed"),
    404: ("NOT_FOUND", "No route matches this path"),
    405: ("METHOD_NOT_ALLOWED", "This path does not support the request method"),
    413: ("PAYLOAD_TOO_LARGE", "The request body is larger than 2 MiB"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The request body must be application/json"),
}


def answer(
    data: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return *data* as JSON."""
    return web.Response(
        body=orjson.dumps(data), status=status, content_type=_JSON, headers=headers
    )


def refusal(status: int, code: str, message: str, **members: object) -> web.Response:
    """Return an error as the contract words it."""
    return answer(_body(code, message, **members), status=status)


def refused(error: BellhopError) -> web.Response:
    """Return *error* as HTTP says it; raises it again when the table has no words."""
    kind, body = _said(error)
    response = answer(body, status=kind.status)
    response.headers.update(kind.headers(error))
    return response


def refusal_of(error: BellhopError) -> tuple[int, dict[str, Any]]:
    """Return *error* as status and body; raises it again when there are no words."""
    kind, body = _said(error)
    return kind.status, body


def crashed() -> tuple[int, dict[str, Any]]:
    """Return what is said of a bug."""
    return 500, _body("INTERNAL_ERROR", "An internal error occurred")


def words_of(error: BellhopError) -> tuple[str, str]:
    """Return the code and the message of *error*, for one item among several."""
    _, body = _said(error)
    return body["code"], body["message"]


def details_of(error: Malformed) -> list[FieldFault]:
    """Return the fields at fault, each in words and as a code."""
    return [
        {"field": fault.field, "message": fault.message, "code": fault.code}
        for fault in error.faults
    ]


def _body(code: str, message: str, **members: object) -> dict[str, Any]:
    return {"code": code, "message": message, "error": code.lower(), **members}


def _said(error: BellhopError) -> tuple[_Kind, dict[str, Any]]:
    """Return how *error* is said; raises it again when the table has no words."""
    if isinstance(error, Malformed):
        return _malformed(error)
    for class_ in type(error).__mro__:
        kind = _KINDS.get(class_)
        if kind is not None:
            break
    else:
        raise error
    message = kind.message or str(error)
    if kind.status == HTTPStatus.NOT_FOUND and "not found" in message.lower():
        # Which of the things on the way it was is nobody's business.
        message = "Resource not found"
    return kind, _body(kind.code, message, **kind.members(error))


@web.middleware
async def translated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request an id and a time, every answer its headers and words."""
    request_id = request.headers.get("x-request-id", "")
    if not (request_id.isprintable() and 0 < len(request_id) <= _REQUEST_ID_MAX):
        request_id = str(uuid_utils.uuid4())
    manners = request.app[MANNERS]
    started = time.perf_counter()
    try:
        response: web.StreamResponse | None = manners.preflight(request)
        if response is None:
            with _traced(request):
                response = await _in_time(request, handler, manners.watchdog)
    except BellhopError as error:
        if isinstance(error, Transient):
            log.debug("request.postponed", request_id=request_id, cause=str(error))
        response = refused(error)
    except web.HTTPException as error:
        response = _answered(error)
    except ConnectionResetError as error:
        # The client left before its request was whole: nobody hears the answer.
        log.debug("request.abandoned", request_id=request_id, cause=str(error))
        response = refusal(400, "BAD_REQUEST", "The request broke off")
    except Exception:
        # A bug must not take the neighbours along: here a request ends.
        log.exception("request.crashed", path=request.path, request_id=request_id)
        status, body = crashed()
        response = answer(body, status=status)
    if not response.prepared:
        if response.status >= HTTPStatus.BAD_REQUEST:
            response = _worded(request, response, request_id)
        manners.dress(request, response)
        response.headers.update(rate_headers(request, request.app[SETTINGS]))
        response.headers.update(ignored_headers(request))
        response.headers["x-request-id"] = request_id
    audit.tell(request, response.status, request_id)
    _counter(request.method, response.status).inc()
    DURATION.observe(time.perf_counter() - started)
    return response


def _traced(request: web.Request) -> AbstractContextManager[None]:
    if not tracing.is_on():
        return tracing.OFF
    resource = request.match_info.route.resource
    name = f"{request.method} {resource.canonical}" if resource else "unknown route"
    return tracing.serving(name, request.headers)


@lru_cache(maxsize=256)
def _counter(method: str, status: int) -> Counter:
    """Return the counter of a method and status: looking for its labels takes long."""
    return REQUESTS.labels(method if method in _COUNTED else "OTHER", str(status))


async def _in_time(
    request: web.Request, handler: Handler, watchdog: Watchdog
) -> web.StreamResponse:
    """Return what *handler* answers in its time, else the truth about it: 408."""
    wrong = wrong_version(request)
    if wrong is not None:
        return refusal(400, "BAD_REQUEST", wrong)
    deadline = watchdog.deadline()
    request[DEADLINE] = deadline
    try:
        with deadline:
            return await handler(request)
    except TimeoutError:
        if not deadline.expired:
            raise
    finally:
        request.app[BODIES].leave(request)
    seconds = watchdog.seconds
    if request.can_read_body:
        message = f"The request body did not arrive within {seconds:g} seconds"
    elif request.method in _SAFE:
        message = f"The request took longer than {seconds:g} seconds"
    else:
        # What is on its way to the database may still be committed.
        message = (
            f"The request took longer than {seconds:g} seconds; "
            "it is not known whether it was carried out"
        )
    return refusal(408, "REQUEST_TIMEOUT", message)


def _malformed(error: Malformed) -> tuple[_Kind, dict[str, Any]]:
    faults = error.faults or (Fault("request", "is invalid"),)
    first = faults[0]
    named = {first.field, first.field.replace("_", " ")}
    message = (
        first.message
        if any(name in first.message for name in named)
        else f"{first.field}: {first.message}"
    )
    code = first.code if first.code.isupper() else "VALIDATION_ERROR"
    details = details_of(Malformed(*faults))
    status = 422 if error.unreadable else 400
    return _Kind(status, code), _body(code, message, details=details)


def _answered(error: web.HTTPException) -> web.Response:
    """Put words to what aiohttp itself refuses."""
    code, message = _WORDS.get(
        error.status, (HTTPStatus(error.status).name, error.reason)
    )
    response = refusal(error.status, code, message)
    for name in ("Allow", "Accept"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _worded(
    request: web.Request, response: web.StreamResponse, request_id: str
) -> web.StreamResponse:
    """Return a refusal that says something, as RFC 9457 has it if that is asked for."""
    if not isinstance(response, web.Response):
        return response
    if response.body is None or response.content_type == "text/plain":
        status = HTTPStatus(response.status)
        code, message = _WORDS.get(status, (status.name, status.phrase))
        response.body = refusal(status, code, response.text or message).body
        response.content_type = _JSON
        response.charset = None
    # Which of the two it is depends on this: a cache must know.
    vary = response.headers.get("Vary")
    response.headers["Vary"] = f"{vary}, Accept" if vary else "Accept"
    if response.content_type == _JSON and takes(
        request.headers.get("Accept", ""), _PROBLEM
    ):
        body = orjson.loads(response.text or "{}")
        problem = {
            "type": f"/docs#{body['code']}",
            "title": HTTPStatus(response.status).phrase,
            "status": response.status,
            "detail": body["message"],
            "instance": quote(request_id, safe="-._~"),
            **body,
        }
        response.body = orjson.dumps(problem)
        response.content_type = _PROBLEM
    return response
