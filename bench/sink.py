"""Where webhooks arrive: answers at once, and notes when each job came first.

``python -m bench.sink PORT``.  Anything but the questions below is a webhook; what goes
to ``/slow`` is answered half a second later::

    GET /counts      how many arrived: {"jobs": …, "repeats": …}
    GET /arrivals    when each arrived (see `records`)
    GET /samples     some of them whole, so that somebody can check their signatures
    DELETE /         forget all of it
"""

import asyncio
import json
import sys
import time
from base64 import b64encode
from functools import partial

import uvloop

from bench.http import Messages, field
from bench.records import pack_arrivals

_SAMPLE_EVERY = 101
_SAMPLES_MAX = 200
_SLOW_SECONDS = 0.5
_DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEADERS = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")


class Notes:
    """What arrived."""

    def __init__(self) -> None:
        self.arrivals: dict[bytes, float] = {}
        self.repeats = 0
        self.samples: list[tuple[bytes, bytes]] = []

    def note(self, head: bytes, body: bytes, *, at: float) -> None:
        """Note a webhook."""
        job_id = field(head, b"webhook-id") or b""
        if self.arrivals.setdefault(job_id, at) is not at:
            self.repeats += 1
        elif (
            len(self.arrivals) % _SAMPLE_EVERY == 1 and len(self.samples) < _SAMPLES_MAX
        ):
            self.samples.append((head, body))

    def answer(self, head: bytes) -> bytes:
        """Answer a question."""
        match head.split(b" ", 2)[1]:
            case b"/counts":
                counts = {"jobs": len(self.arrivals), "repeats": self.repeats}
                return json.dumps(counts).encode()
            case b"/arrivals":
                return pack_arrivals(self.arrivals)
            case _:
                return json.dumps([_whole(*sample) for sample in self.samples]).encode()

    def forget(self) -> None:
        """Forget everything."""
        self.arrivals.clear()
        self.samples.clear()
        self.repeats = 0


class Connection(Messages):
    """One connection to the sink."""

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self._notes = notes

    def take(self, head: bytes, body: bytes) -> None:
        """Answer a webhook or a question."""
        if head.startswith(b"GET "):
            answer = self._notes.answer(head)
            length = str(len(answer)).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + answer
            )
            return
        if head.startswith(b"DELETE "):
            self._notes.forget()
        else:
            self._notes.note(head, body, at=time.monotonic())
            if head.startswith(b"POST /slow"):
                loop = asyncio.get_running_loop()
                loop.call_later(_SLOW_SECONDS, self.transport.write, _DONE)
                return
        self.transport.write(_DONE)


def _whole(head: bytes, body: bytes) -> dict[str, object]:
    headers = {name.decode(): (field(head, name) or b"").decode() for name in _HEADERS}
    return {"headers": headers, "body": b64encode(body).decode()}


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, Notes()), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
