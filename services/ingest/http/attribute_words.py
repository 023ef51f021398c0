"""The words that stand under the fields of a shape: its attributes' docstrings.

Python forgets them, so they are read from the source: once, when the API is described,
and never for a request.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Iterable, Mapping

from typing_extensions import get_original_bases


def words_of(shape: type) -> Mapping[str, str]:
    """Return what is said of each field of *shape*, its bases' fields with them."""
    found: dict[str, str] = {}
    for base in get_original_bases(shape):
        origin = getattr(base, "__origin__", base)
        if isinstance(origin, type) and origin is not object:
            found |= words_of(origin)
    source = _classes(shape.__module__).get(shape.__qualname__)
    return found if source is None else found | dict(_said(source))


@functools.cache
def _classes(module_name: str) -> Mapping[str, ast.ClassDef]:
    """Return the classes that are written at the top of a module."""
    module = sys.modules.get(module_name)
    if module is None or getattr(module, "__file__", None) is None:
        return {}
    tree = ast.parse(inspect.getsource(module))
    return {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}


def _said(source: ast.ClassDef) -> Iterable[tuple[str, str]]:
    for field, below in zip(source.body, source.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                yield name, inspect.cleandoc(words)
