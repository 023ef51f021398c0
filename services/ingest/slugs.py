"""Slugs: the short names of organizations (contract 1.3) (pure)."""

import re
import unicodedata
from typing import Final

SLUG: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
SLUG_LENGTH_MIN: Final = 3
SLUG_LENGTH_MAX: Final = 50
#: Names that would be taken for parts of the house.
RESERVED: Final = frozenset(
    [
        "admin",
        "api",
        "app",
        "auth",
        "dashboard",
        "docs",
        "help",
        "internal",
        "login",
        "logout",
        "metrics",
        "root",
        "settings",
        "signup",
        "status",
        "support",
        "system",
        "test",
        "www",
    ]
)
_VARIANTS_MAX: Final = 20
#: What makes a name that is too short, or not free, one that may be.
_FILLER: Final = "org"

_FORM: Final = re.compile(SLUG)
_STRANGE: Final = re.compile(r"[^a-z0-9]+")


def fault_of(slug: str) -> str | None:
    """Return in words what is wrong with *slug*, or None when it may be taken."""
    if not SLUG_LENGTH_MIN <= len(slug) <= SLUG_LENGTH_MAX:
        return f"Slug must be {SLUG_LENGTH_MIN}-{SLUG_LENGTH_MAX} characters"
    if not _FORM.fullmatch(slug):
        return (
            "Slug can only contain lowercase letters, digits and single hyphens, and "
            "not start or end with a hyphen"
        )
    if slug in RESERVED:
        return "This slug is reserved"
    return None


def slug_of(name: str) -> str:
    """Return the slug that *name* suggests; always one that may be taken."""
    plain = unicodedata.normalize("NFKD", name.lower())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    slug = _STRANGE.sub("-", plain).strip("-")[:SLUG_LENGTH_MAX].strip("-")
    if fault_of(slug) is None:
        return slug
    return f"{slug}-{_FILLER}" if slug else _FILLER


def variants(slug: str) -> list[str]:
    """Return *slug* and others like it, in the order in which to try them."""
    found = [slug]
    for number in range(2, _VARIANTS_MAX + 1):
        ending = f"-{number}"
        found.append(slug[: SLUG_LENGTH_MAX - len(ending)].rstrip("-") + ending)
    return found
