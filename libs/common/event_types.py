"""What messages are about, and who wants to hear of it (pure).

A message has a name: words of letters, digits and ``_``, joined by ``.`` or ``-``, as
in ``invoice.paid``.  An endpoint asks for names, for everything under a name
(``invoice.*``), or for everything (``*``).
"""

import re
from collections.abc import Iterable
from typing import Final

#: What a name is, as `messages.event_type` holds it to.
NAME_PATTERN: Final = r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*"
#: What an endpoint may ask for.
WANTED_PATTERN: Final = rf"\*|{NAME_PATTERN}(\.\*)?"
#: As long as a name may be, in characters.
NAME_CHARS_MAX: Final = 256

_NAME: Final = re.compile(NAME_PATTERN)
_WANTED: Final = re.compile(WANTED_PATTERN)
_ALL: Final = "*"
_BELOW: Final = ".*"


def is_name(text: str) -> bool:
    """Whether a message may be called so."""
    return len(text) <= NAME_CHARS_MAX and _NAME.fullmatch(text) is not None


def is_wanted_pattern(text: str) -> bool:
    """Whether an endpoint may ask for it: a name, ``name.*``, or ``*``."""
    return len(text) <= NAME_CHARS_MAX and _WANTED.fullmatch(text) is not None


class Wish:
    """The names that an endpoint asks for; asking costs a few look-ups."""

    __slots__ = ("_all", "_below", "_names")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take patterns that were checked (`is_wanted_pattern`)."""
        self._all = False
        self._names: set[str] = set()
        self._below: set[str] = set()
        for pattern in patterns:
            if pattern == _ALL:
                self._all = True
            elif pattern.endswith(_BELOW):
                self._below.add(pattern.removesuffix(_BELOW))
            else:
                self._names.add(pattern)

    def matches(self, name: str) -> bool:
        """Whether it asks for *name*; what is below a name is not the name itself."""
        if self._all or name in self._names:
            return True
        if self._below:
            end = name.rfind(".")
            while end > 0:
                if name[:end] in self._below:
                    return True
                end = name.rfind(".", 0, end)
        return False
