"""Messages that nobody sends on purpose, made from the descriptors of ``proto/``.

`messages` gives whatever a type allows; `spoiled` gives bytes that are nearly a
message: cut, flipped, with fields that nobody knows, or of another wire type.
"""

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

Kind = FieldDescriptor

_NAN: Final = (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.8e308)
_WORDS: Final = (
    "",
    "\x00",
    "a\x00b",
    "0",
    "null",
    "../..",
    "a.b.*.>",
    "\r\nX-Injected: 1",
    "\u202e\u0301\U0001f514",
    "\ufffe\uffff",
    "'; DROP TABLE jobs; --",
    "http://localhost:9/",
    "2026-13-45T99:99:99Z",
    "00000000-0000-0000-0000-000000000000",
    "x" * 256,
    "\u00fc" * 5_000,
    "y" * 70_000,
)
#: How often each level of messages within messages goes on.
_DEPTH_MAX: Final = 5


_SPOILS: Final = ("cut", "flip", "unknown", "retype", "deep", "random")


def _whole(bits: int) -> st.SearchStrategy[int]:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edges = (least, least + 1, -1, 0, 1, 2, 100, 1001, most)
    return st.sampled_from(edges) | st.integers(least, most)


def _scalars(words: tuple[str, ...]) -> dict[int, st.SearchStrategy[Any]]:
    texts = (
        st.sampled_from(words)
        | st.sampled_from(_WORDS)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    )
    return {
        Kind.TYPE_STRING: texts,
        Kind.TYPE_BYTES: st.binary(max_size=40),
        Kind.TYPE_BOOL: st.booleans(),
        Kind.TYPE_DOUBLE: st.sampled_from(_NAN) | st.floats(),
        Kind.TYPE_INT32: _whole(32),
        Kind.TYPE_INT64: _whole(64),
        # An enum is open: what is no name of it is a number all the same.
        Kind.TYPE_ENUM: _whole(32),
    }


@st.composite
def messages(
    draw: st.DrawFn,
    descriptor: Descriptor,
    words: tuple[str, ...] = ("",),
    depth: int = _DEPTH_MAX,
) -> Any:
    """Return a message of a type: any fields, with *words* where texts are wanted."""
    message = GetMessageClass(descriptor)()
    scalars = _scalars(words)
    for field in descriptor.fields:
        if not draw(st.integers(0, 3)):
            continue
        kind = field.message_type
        if kind is None:
            _put(draw, message, field, scalars[field.type])
        elif depth:
            _put_messages(draw, message, field, words, depth - 1)
    return message


def _put(draw: Any, message: Any, field: Any, values: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(values, max_size=3)))
    else:
        setattr(message, field.name, draw(values))


def _put_messages(draw: Any, message: Any, field: Any, words: Any, depth: int) -> None:
    kind = field.message_type
    if kind.full_name == Struct.DESCRIPTOR.full_name and not draw(st.integers(0, 3)):
        _fill_deep(getattr(message, field.name), draw(st.integers(1, 25)))
        return
    within = messages(kind, words, depth)
    if kind.GetOptions().map_entry:
        for entry in draw(st.lists(within, max_size=4)):
            held = getattr(message, field.name)
            if kind.fields_by_name["value"].message_type is None:
                held[entry.key] = entry.value
            else:
                held[entry.key].CopyFrom(entry.value)
    elif field.is_repeated:
        items = draw(st.lists(within, max_size=3))
        many = draw(st.sampled_from([1, 1, 1, 1, 1001]))
        getattr(message, field.name).extend(items * many if depth > 2 else items)
    else:
        getattr(message, field.name).CopyFrom(draw(within))


def _fill_deep(struct: Struct, levels: int) -> None:
    """Nest objects, each of which takes three messages."""
    for _ in range(levels):
        struct = struct.fields["deeper"].struct_value
    struct.fields["n"].number_value = 1


@st.composite
def spoiled(
    draw: st.DrawFn, descriptor: Descriptor, words: tuple[str, ...] = ("",)
) -> bytes:
    """Return bytes that are no message of a type, or hardly one."""
    data = bytearray(draw(messages(descriptor, words)).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(_SPOILS)):
            case "cut":
                del data[where:]
            case "flip" if where < len(data):
                data[where] ^= 1 << draw(st.integers(0, 7))
            case "deep":
                data += _deep(draw(st.integers(1, 12)))
            case "unknown":
                data += b"\xfa\xff\x07\x05bells"
            case "retype":
                # Each field as a varint, as fixed bytes, as a group, as nothing known.
                number, wire = draw(st.integers(1, 12)), draw(st.integers(0, 7))
                data += bytes([number << 3 | wire, 0xFF, 0xFF, 0x7F])
            case _:
                data[where:where] = draw(st.binary(max_size=64))
    return bytes(data)


def _deep(number: int) -> bytes:
    """Return a field of 120 messages in one another: protobuf reads up to 100."""
    data = b""
    for _ in range(120):
        data = b"\x0a" + _sized(data)
    return bytes([number << 3 | 2]) + _sized(data)


def _sized(data: bytes) -> bytes:
    """Return *data* behind its length, a varint of two bytes."""
    return bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data
