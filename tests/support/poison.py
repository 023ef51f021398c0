"""Messages that a broken version of a service might say: nearly right, or not at all.

Made from good ones: each part of a word in turn is left out, or is of another type, or
out of all bounds; and bytes by chance.
"""

import copy
import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

#: What may stand where something else should.
_ODD: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "a\x00b",
    "\u202e\ud83d\udd14".encode("utf-16", "surrogatepass").decode("utf-16"),
    "00000000-0000-0000-0000-00000000000",
    "1e400",
    -1,
    0.5,
    1e308,
    2**31,
    2**63,
    2**70,
    [],
    [[None]],
    {},
    {"a": {"b": []}},
    "z" * 10_000,
)
_RAW = (
    b"",
    b"\x00",
    b"null",
    b"[]",
    b"{",
    b"NaN",
    b'"\\ud800"',
    b"{}{}",
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b"x" * 1_000_000,
)
#: What only the server says, and what no program of a customer's says so.
_HEADERS = (
    {"Status": "100"},
    {"Status": "409", "Description": "Consumer Deleted"},
    {"Nats-Last-Consumer": "x", "Status": "x"},
    {"Bellhop-Key": "\u00e9\u0660"},
    {"Bellhop-Key": "sk_live_nobody", "Idempotency-Key": "k" * 5_000},
)


class Poison(NamedTuple):
    """Something to say."""

    data: bytes
    headers: dict[str, str] | None


def poisons(good: Any, seed: int) -> Iterator[Poison]:
    """Yield what is nearly *good*, or not at all; in the end some under odd headers."""
    luck = random.Random(seed)
    data = list(_bytes(good, luck))
    for one in data:
        yield Poison(one, None)
    for headers in _HEADERS:
        for one in luck.sample(data, 3):
            yield Poison(one, headers)


def batched(things: Iterable[Poison], size: int) -> Iterator[list[Poison]]:
    """Yield them so many at a time."""
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some


def _bytes(good: Any, luck: random.Random) -> Iterator[bytes]:
    yield from _RAW
    for _ in range(20):
        yield luck.randbytes(luck.randint(1, 300))
    spelled = json.dumps(good).encode()
    for _ in range(20):
        cut = bytearray(spelled)
        cut[luck.randrange(len(cut))] = luck.randrange(256)
        yield bytes(cut)
        yield spelled[: luck.randrange(len(spelled))]
    for path in _paths(good):
        for odd in _ODD:
            yield json.dumps(_with(good, path, odd)).encode()
        yield json.dumps(_without(good, path)).encode()
        # No text in UTF-8, where JSON cannot be told from other bytes.
        marked = json.dumps(_with(good, path, "@@")).encode()
        yield marked.replace(b"@@", b"\xff\xfe")


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from _paths(value[name], (*path, name))


def _with(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    made = copy.deepcopy(value)
    _holder(made, path)[path[-1]] = odd
    return made


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(value)
    del _holder(made, path)[path[-1]]
    return made


def _holder(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path[:-1]:
        value = value[name]
    return value
