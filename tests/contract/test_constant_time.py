"""Whoever guesses a secret learns nothing from how long the answer takes.

Secrets are looked up by their digests, or compared by `hmac.compare_digest`: never by
``==``, which ends at the first byte that is wrong.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for folder in ("libs", "services")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "pb" not in path.parts
]
#: What a name says that stands for something nobody may guess.
SECRET = {
    "authorization",
    "credential",
    "digest",
    "hmac",
    "mac",
    "password",
    "secret",
    "secrets",
    "signature",
    "signatures",
    "token",
    "unseal",
    "unsealed",
}
#: What is said of one, and is none: a kind, a length, when it ends.
SAID_OF = {"algorithm", "at", "id", "kind", "length", "max", "scheme", "type", "until"}


def names_in(node):
    """Yield the names that *node* is made of, but not those whose length is taken."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "len":
        return
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from names_in(child)


def is_secret(node):
    if isinstance(node, ast.Constant):
        return False
    return any(
        words & SECRET and not words & SAID_OF
        for name in names_in(node)
        for words in [set(re.split(r"[^a-z0-9]+", name.lower()))]
    )


def leaks(source):
    """Return comparisons of secrets whose time tells how much was right."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
        and not any(isinstance(one, ast.Constant) for one in node.comparators)
        and any(map(is_secret, [node.left, *node.comparators]))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_secrets_are_compared_in_constant_time(path):
    assert leaks(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "given == wanted.secret",
        "signature != expected",
        "sealer.unseal(kept) == given.encode()",
        "request.headers['X-Token'] == known",
        "hashlib.sha256(x).digest() == known",
        "settings.metrics_token.get_secret_value() == given",
    ],
)
def test_a_comparison_that_leaks_is_seen(source):
    assert leaks(source) == [source]


@pytest.mark.parametrize(
    "source",
    [
        "hmac.compare_digest(given, secret)",
        "len(secret) != size",
        "token_type == asked",
        "secret is None",
        "secret == ''",
    ],
)
def test_what_tells_nothing_may_be_compared(source):
    assert leaks(source) == []
