"""Server reflection, as ``v1`` and as ``v1alpha``.

The package knows the older name only.  The messages of both are the same on the wire,
so one servicer answers under either.
"""

from collections.abc import Sequence
from typing import Final

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1: Final = "grpc.reflection.v1.ServerReflection"


def reflect(server: grpc.aio.Server, names: Sequence[str]) -> None:
    """Let clients ask *server* for the services called *names*."""
    names = (*names, reflection.SERVICE_NAME, _V1)
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(  # type: ignore[attr-defined]
        names
    )
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_V1, {"ServerReflectionInfo": handler}),)
    )
