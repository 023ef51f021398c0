"""One connection to Bellhop: credentials, patience, and what refusals mean."""

import asyncio
import random
import re
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from libs.common.pb.spooled_pb2_grpc import QueueServiceStub, WorkerServiceStub

T = TypeVar("T")

_MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC itself would wait up to two minutes before it looks again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two workers in one process do not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_PAUSE_SECONDS_MIN: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0
_Code: Final = grpc.StatusCode
#: What will be said again, however often one asks.  Everything else passes by itself: a
#: crash of one call (INTERNAL), and whatever proxies on the way make of an outage
#: (UNKNOWN, INTERNAL, CANCELLED, …).
_REFUSING: Final = {
    _Code.UNAUTHENTICATED,
    _Code.PERMISSION_DENIED,
    _Code.INVALID_ARGUMENT,
    _Code.NOT_FOUND,
    _Code.UNIMPLEMENTED,
    _Code.FAILED_PRECONDITION,
    _Code.ALREADY_EXISTS,
    # Too large, or over the plan; who is only too fast is told how long to wait.
    _Code.RESOURCE_EXHAUSTED,
}
#: Nobody has looked at what was asked.
_UNANSWERED: Final = {_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED}
_SECONDS: Final = re.compile(r"\d+(\.\d+)?")


class Refused(Exception):  # noqa: N818 - what is wrong, no "Error" at the end
    """Bellhop said no, and will say so again; *code* is a word to go by."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code: Final = code


class Unreachable(Exception):  # noqa: N818
    """It could not be done now: it may have been carried out or not.

    *undone* says that this time it was certainly not, so that a repeat is safe, and
    *wait_seconds* how long not to ask again.  Without *answered* nobody answered at
    all, or only to say that there is nobody.
    """

    def __init__(
        self,
        message: str,
        *,
        wait_seconds: float = 0.0,
        undone: bool = False,
        answered: bool = False,
    ) -> None:
        super().__init__(message)
        self.wait_seconds: Final = wait_seconds
        self.undone: Final = undone
        self.answered: Final = answered


class Caller(Protocol):
    """A method of a service, as generated code has it."""

    def __call__(
        self, request: Any, /, *, timeout: float, metadata: Any
    ) -> Awaitable[Any]:
        """Ask, and return the answer."""


class Connection:
    """A channel with a key; use it as an async context manager."""

    def __init__(self, url: str, api_key: str) -> None:
        """Connect to *url*: ``http://host:port``, or ``https://`` for TLS."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// address")
        self._secure = parts.scheme == "https"
        self._address = parts.netloc
        self._metadata = (("x-api-key", api_key),)
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if self._secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.aio.secure_channel(
                self._address, credentials, options=_OPTIONS
            )
        else:
            self._channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        # Generated code has no types.
        self.queues: Any = QueueServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.workers: Any = WorkerServiceStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await self._channel.close(None)

    async def ask(self, method: Caller, request: Any, *, seconds: float) -> Any:
        """Ask once.

        Raises `Refused`, and `Unreachable` when it passes by itself: asking again may
        help.
        """
        try:
            return await method(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            words = error.details() or ""
            code = error.code()
            wait = _retry_after(error)
            if wait is None and code in _REFUSING:
                raise Refused(code.name, words) from error
            raise Unreachable(
                f"{self._address}: {words} ({code.name})",
                wait_seconds=wait or 0.0,
                undone=code is _Code.RESOURCE_EXHAUSTED,
                answered=code not in _UNANSWERED,
            ) from error


class Pause:
    """Waits longer and longer, at random, until it is told that all went well."""

    def __init__(self) -> None:
        self._failures = 0

    async def wait(self, at_least: float = 0.0) -> None:
        """Wait (full jitter), and before that *at_least* so many seconds."""
        longest = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(at_least + random.uniform(0, longest))  # noqa: S311 - jitter

    def reset(self) -> None:
        """Begin again with short pauses."""
        self._failures = 0


def _retry_after(error: grpc.aio.AioRpcError) -> float | None:
    """Return what a refusal for being too fast asks to wait, in seconds."""
    trailers: Any = error.trailing_metadata() or ()
    told = (str(value) for name, value in trailers if name == "retry-after")
    return next((float(text) for text in told if _SECONDS.fullmatch(text)), None)
