"""Fields that a body has and its shape does not: ignored, but not in silence.

Clients of the compatible API send more than we read, so such a field is no fault; but
who misspelt one is told so, in a header of the answer, whatever the answer is.
"""

import re
from functools import lru_cache
from itertools import islice
from typing import Final

from aiohttp import web
from pydantic import AliasChoices, BaseModel

HEADER: Final = "X-Ignored-Fields"

_NAMES_MAX: Final = 10
_NAME_CHARACTERS_MAX: Final = 64
#: What may not stand in a header, or would end a name there.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")

_IGNORED: Final = web.RequestKey("ignored", str)


def note_ignored(request: web.Request, shape: type[BaseModel], data: object) -> None:
    """Note which fields of *data* are no fields of *shape*, for `ignored_headers`."""
    if not isinstance(data, dict) or data.keys() <= (known := _names(shape)):
        return
    if shape.model_config.get("extra", "ignore") != "ignore":
        return
    strange = (name for name in data if name not in known)
    request[_IGNORED] = ", ".join(map(_safe, islice(strange, _NAMES_MAX)))


def ignored_headers(request: web.Request) -> dict[str, str]:
    """Return the header that names what was ignored, if anything was."""
    ignored = request.get(_IGNORED)
    return {} if ignored is None else {HEADER: ignored}


@lru_cache(maxsize=256)
def _names(shape: type[BaseModel]) -> frozenset[str]:
    """Return every name that a field of *shape* goes by."""
    names: set[str] = set()
    for name, field in shape.model_fields.items():
        alias = field.validation_alias
        if alias is None:
            names.add(name)
        elif isinstance(alias, AliasChoices):
            names.update(one for one in alias.choices if isinstance(one, str))
        elif isinstance(alias, str):
            names.add(alias)
    return frozenset(names)


def _safe(name: str) -> str:
    return _UNSAFE.sub("?", name[:_NAME_CHARACTERS_MAX]) or "?"
