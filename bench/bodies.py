"""The jobs that are created: an order, some two hundred bytes of it."""

import json
from typing import Any

QUEUE = "bench"
BULK = 100
_VARIANTS = 64


def payload(number: int) -> dict[str, Any]:
    """Return what a job carries."""
    return {
        "job_type": "order.paid",
        "order": {"id": 100_000 + number, "total": "129.90", "currency": "EUR"},
        "customer": {"name": "Ada Example", "email": f"ada+{number}@example.org"},
        "lines": [{"sku": "A-17", "count": 2}, {"sku": "B-4", "count": 1}],
    }


def queue_name(number: int) -> str:
    """Return the name of one queue of many."""
    return f"{QUEUE}-{number}"


def single(number: int, target: str | None, queue: str = QUEUE) -> dict[str, Any]:
    """Return the body of ``POST /api/v1/jobs``."""
    body: dict[str, Any] = {"queue_name": queue, "payload": payload(number)}
    if target is not None:
        body["target"] = {"url": target}
    return body


def bulk(number: int, target: str | None, queue: str = QUEUE) -> dict[str, Any]:
    """Return the body of ``POST /api/v1/jobs/bulk`` with a hundred jobs."""
    body: dict[str, Any] = {
        "queue_name": queue,
        "jobs": [{"payload": payload(number * BULK + i)} for i in range(BULK)],
    }
    if target is not None:
        body["target"] = {"url": target}
    return body


def requests(
    kind: str, *, port: int, key: str, target: str | None, queues: int | None = None
) -> list[bytes]:
    """Return whole HTTP requests, to be sent round and round.

    They are for one queue, or for so many *queues* in turn.
    """
    path = "/api/v1/jobs/bulk" if kind == "bulk" else "/api/v1/jobs"
    make = bulk if kind == "bulk" else single
    names = [QUEUE] * _VARIANTS if queues is None else map(queue_name, range(queues))
    bodies = [make(number, target, queue) for number, queue in enumerate(names)]
    return [
        _request(path, json.dumps(body).encode(), port=port, key=key) for body in bodies
    ]


def _request(path: str, body: bytes, *, port: int, key: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
