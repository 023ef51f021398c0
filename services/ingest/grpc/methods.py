"""Methods as the descriptors name them, bound to what answers them.

What ``proto/`` says is what is served: each method of a service is looked up, under
its name in snake case, among the objects that answer.  A missing one fails the start.

*  a unary method takes the request and the `Principal`, and returns the answer
*  a streaming method takes the request (or nothing) and the `Call`, and writes
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from libs.common.access import Principal
from services.ingest.grpc.admission import Admission
from services.ingest.grpc.errors import Context, answered

Handler = Callable[[Any, Context], Awaitable[Any]]

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Call:
    """A stream that is open: who opened it, and the line to them."""

    principal: Principal
    context: Context


def bind(
    service: ServiceDescriptor, answering: Sequence[object], admission: Admission
) -> "grpc.GenericRpcHandler[Any, Any]":
    """Return a handler of all of *service*'s methods."""
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: _handler(method, _find(method, answering), admission)
            for method in service.methods
        },
    )


def _find(
    method: MethodDescriptor, answering: Sequence[object]
) -> Callable[..., Awaitable[Any]]:
    name = _HUMP.sub("_", method.name).lower()
    for answers in answering:
        found: Callable[..., Awaitable[Any]] | None = getattr(answers, name, None)
        if found is not None:
            return found
    raise LookupError(f"{method.full_name}: nobody answers it")


def _handler(
    method: MethodDescriptor,
    answer: Callable[..., Awaitable[Any]],
    admission: Admission,
) -> "grpc.RpcMethodHandler[Any, Any]":
    take = GetMessageClass(method.input_type).FromString
    give = GetMessageClass(method.output_type).SerializeToString
    if method.client_streaming:
        talk = _stream(method.name, answer, admission, with_request=False)
        return grpc.stream_stream_rpc_method_handler(talk, take, give)
    if method.server_streaming:
        talk = _stream(method.name, answer, admission, with_request=True)
        return grpc.unary_stream_rpc_method_handler(talk, take, give)
    return grpc.unary_unary_rpc_method_handler(
        _unary(method.name, answer, admission), take, give
    )


def _unary(
    name: str, answer: Callable[..., Awaitable[Any]], admission: Admission
) -> Handler:
    async def admitted(request: Message, context: Context) -> Message:
        principal = await admission.admit(context)
        found: Message = await answer(request, principal)
        return found

    async def call(request: Message, context: Context) -> Message:
        return await answered(name, context, admitted(request, context), timed=True)

    return call


def _stream(
    name: str,
    answer: Callable[..., Awaitable[Any]],
    admission: Admission,
    *,
    with_request: bool,
) -> Handler:
    async def admitted(request: Message, context: Context) -> None:
        principal = await admission.admit(context)
        call = Call(principal, context)
        await (answer(request, call) if with_request else answer(call))

    async def talk(request: Message, context: Context) -> None:
        await answered(name, context, admitted(request, context), timed=False)

    return talk
