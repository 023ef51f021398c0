"""Types of what words on the bus say, no wider than the tables and subjects they reach.

A word with anything else in it is unreadable: asked for more than it can hold, Postgres
would refuse a statement that carries what others said, too.
"""

from typing import Annotated

from msgspec import Meta

Whole = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Slots = Annotated[int, Meta(ge=0, le=10_000)]
StatusCode = Annotated[int, Meta(ge=0, le=999)]
#: A UUID, where a bad one would spoil what is said of others beside it.
Id = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
]
#: Whoever is reported to: the last token of a subject.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z")]
#: Up to a year, and up to a day.
Milliseconds = Annotated[float, Meta(ge=0, le=366 * 86_400_000)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
