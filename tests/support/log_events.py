"""Every line that the services may log: its name, its levels, what it says beside."""

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of line."""

    name: str
    levels: frozenset[str]
    fields: frozenset[str]


def all_lines() -> dict[str, Line]:
    """Return every line of the services and the common library, by name."""
    found: dict[str, Line] = {}
    for part in ("libs/common", "services"):
        for path in sorted((ROOT / part).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text())):
                for line in _lines(call):
                    known = found.get(line.name, line)
                    found[line.name] = Line(
                        line.name,
                        known.levels | line.levels,
                        known.fields | line.fields,
                    )
    return found


def _lines(call):
    """Yield what one call logs: its name may be one of two."""
    if not isinstance(call, ast.Call) or not call.args:
        return
    match call.func:
        case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in LEVELS:
            levels = {LEVELS[level]}
        # One that a verdict's kind chooses.
        case ast.Name(id="write"):
            levels = {"debug", "info"}
        case _:
            return
    fields = frozenset(one.arg for one in call.keywords if one.arg)
    if _is_of_a_bug(call):
        fields |= {"exception"}
    for node in ast.walk(call.args[0]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Line(node.value, frozenset(levels), fields)


def _is_of_a_bug(call):
    return isinstance(call.func, ast.Attribute) and call.func.attr == "exception"
