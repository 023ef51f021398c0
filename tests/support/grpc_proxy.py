"""A stranger between a gRPC client and ingest: carries calls, and has moods.

It answers by itself what a proxy in trouble does, or ingest with a bug; and it may
change what it carries.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@dataclass
class Mood:
    """What is said instead of an answer."""

    code: grpc.StatusCode
    details: str = "a mood"
    trailers: tuple[tuple[str, str], ...] = ()
    #: Whether ingest does what it was asked for all the same.
    carries: bool = False


@dataclass
class GrpcProxy:
    """Carries unary calls, each by its name without its service's."""

    channel: grpc.aio.Channel
    port: int = 0
    #: How it is in for the next calls of a method.
    moods: dict[str, list[Mood]] = field(default_factory=dict)
    #: Who decides by the request: a mood, an answer, or None to ask ingest.
    judges: dict[str, Callable[[bytes], Mood | bytes | None]] = field(
        default_factory=dict
    )
    #: What becomes of ingest's answers.
    changes: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    #: Who was asked, and when (monotonic seconds).
    asked: list[tuple[str, float]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def times(self, method: str) -> list[float]:
        """Return when *method* was asked for."""
        return [at for name, at in self.asked if name == method]

    async def carry(self, method: str, request: bytes, context: Any) -> bytes:
        """Answer a call."""
        name = method.rpartition("/")[2]
        self.asked.append((name, time.monotonic()))
        moods = self.moods.get(name)
        verdict: Mood | bytes | None = moods.pop(0) if moods else None
        if verdict is None and name in self.judges:
            verdict = self.judges[name](request)
        if isinstance(verdict, bytes):
            return verdict
        if verdict is None:
            answer = await self._forward(method, request, context)
            change = self.changes.get(name)
            return answer if change is None else change(answer)
        if verdict.carries:
            await self._forward(method, request, context)
        await context.abort(verdict.code, verdict.details, verdict.trailers)
        raise AssertionError("an aborted call does not go on")

    async def _forward(self, method: str, request: bytes, context: Any) -> bytes:
        call: Any = self.channel.unary_unary(method)  # type: ignore[call-arg]
        metadata = context.invocation_metadata()
        try:
            answer: bytes = await call(
                request,
                metadata=[pair for pair in metadata if pair[0] == "x-api-key"],
                timeout=context.time_remaining(),
            )
        except grpc.aio.AioRpcError as error:
            trailers: Any = error.trailing_metadata() or ()
            await context.abort(error.code(), error.details() or "", tuple(trailers))
        return answer


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, proxy: GrpcProxy) -> None:
        self._proxy = proxy

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        async def carry(request: bytes, context: Any) -> bytes:
            return await self._proxy.carry(method, request, context)

        return grpc.unary_unary_rpc_method_handler(carry)


@asynccontextmanager
async def run_grpc_proxy(to: int) -> AsyncIterator[GrpcProxy]:
    """Carry what comes to the ingest at port *to* of this machine."""
    address = f"127.0.0.1:{to}"
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        proxy = GrpcProxy(channel)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Everything(proxy),))
        proxy.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield proxy
        finally:
            await server.stop(None)
