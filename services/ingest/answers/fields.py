"""Fields that several answers share."""

import orjson


def as_stored(text: str | None) -> orjson.Fragment | None:
    """Return stored JSON to be sent as it is, without reading it."""
    return None if text is None else orjson.Fragment(text)
