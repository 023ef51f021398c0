"""Methods as the descriptors name them, bound to what answers them.

What ``proto/`` says is what is served: each method of a service is looked up, under
its name in snake case, among the objects that answer.  A missing one fails the start.

*  a unary method takes the request and the `Principal`, and returns the answer
*  a streaming method takes the request (or nothing) and the `Call`, and writes

Bytes become a request here and not in the transport, which would call it our fault when
they are none: first it is known who calls, then what they say is read.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from libs.common.access import Principal
from libs.common.errors import Fault, Malformed
from services.ingest.grpc.admission import Admission
from services.ingest.grpc.errors import Context, answered

Handler = Callable[[Any, Context], Awaitable[Any]]
Reader = Callable[[bytes], Any]

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Call:
    """A stream that is open: who opened it, and the line to them."""

    principal: Principal
    context: Context
    #: Reads a request of this method; raises `Malformed`.
    read: Reader


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
    read = _reader(GetMessageClass(method.input_type))
    give = GetMessageClass(method.output_type).SerializeToString
    if method.client_streaming:
        talk = _stream(method.name, answer, admission, read, with_request=False)
        return grpc.stream_stream_rpc_method_handler(talk, None, give)
    if method.server_streaming:
        talk = _stream(method.name, answer, admission, read, with_request=True)
        return grpc.unary_stream_rpc_method_handler(talk, None, give)
    return grpc.unary_unary_rpc_method_handler(
        _unary(method.name, answer, admission, read), None, give
    )


def _reader(kind: type[Message]) -> Reader:
    def read(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError as error:
            fault = Fault("request", f"is no {kind.DESCRIPTOR.name}", "protobuf")
            raise Malformed(fault) from error

    return read


def _unary(
    name: str,
    answer: Callable[..., Awaitable[Any]],
    admission: Admission,
    read: Reader,
) -> Handler:
    async def admitted(request: bytes, context: Context) -> Message:
        principal = await admission.admit(context)
        found: Message = await answer(read(request), principal)
        return found

    async def call(request: bytes, context: Context) -> Message:
        return await answered(name, context, admitted(request, context), timed=True)

    return call


def _stream(
    name: str,
    answer: Callable[..., Awaitable[Any]],
    admission: Admission,
    read: Reader,
    *,
    with_request: bool,
) -> Handler:
    async def admitted(request: bytes, context: Context) -> None:
        principal = await admission.admit(context)
        call = Call(principal, context, read)
        if with_request:
            await answer(read(request), call)
        else:
            await answer(call)

    async def talk(request: bytes, context: Context) -> None:
        await answered(name, context, admitted(request, context), timed=False)

    return talk
