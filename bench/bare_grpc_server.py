"""The ceiling of the gRPC door: grpc.aio takes the same messages, and no more.

``python -m bench.bare_grpc_server PORT``
"""

import asyncio
import sys

import grpc
import uvloop

from libs.common.pb import spooled_pb2 as pb
from libs.common.pb import spooled_pb2_grpc as doors


class Echo(doors.QueueServiceServicer):
    """Says yes to everything, at once."""

    async def Enqueue(  # noqa: N802 - the method's name
        self, request: pb.EnqueueRequest, _: object
    ) -> pb.EnqueueResponse:
        """Answer with an id."""
        return pb.EnqueueResponse(job_id=request.queue_name, created=True)

    async def Complete(  # noqa: N802 - the method's name
        self, _: pb.CompleteRequest, __: object
    ) -> pb.CompleteResponse:
        """Answer that it is done."""
        return pb.CompleteResponse(success=True)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    doors.add_QueueServiceServicer_to_server(Echo(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
