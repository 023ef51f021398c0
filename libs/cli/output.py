"""What a command prints: text for people, or with ``--json`` JSON for programs.

With ``--json`` standard output has JSON alone, one document a line; what is said on the
way, and every error, goes to standard error.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Wide enough for any table that nobody looks at in a terminal.
_PIPE_COLUMNS: Final = 10_000


class Output:
    """Prints results, and what is to be said on the way to them."""

    def __init__(self) -> None:
        #: Whether ``--json`` was given.
        self.as_json = False

    def say(self, text: str = "") -> None:
        """Say something to a person."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def result(self, data: Any, text: str | None = None) -> None:
        """Print the outcome: *data*, or for people *text*, where there is any."""
        if self.as_json:
            print(json.dumps(data, ensure_ascii=False, default=str), flush=True)
        elif text is not None:
            print(text, flush=True)

    def rows(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print a list: a line of JSON for each, or a table of some *columns*."""
        if self.as_json:
            for row in rows:
                self.result(row)
            return
        # Here, since an image of one service has no need of it.
        table = importlib.import_module("rich.table")
        text = importlib.import_module("rich.text")
        shown = table.Table(*(c.replace("_", " ") for c in columns), box=None)
        for row in rows:
            shown.add_row(*(text.Text(cell(row.get(name))) for name in columns))
        self._draw(shown if shown.row_count else "None.")

    def record(self, record: Mapping[str, Any]) -> None:
        """Print one thing with all its fields."""
        if self.as_json:
            self.result(record)
            return
        table = importlib.import_module("rich.table")
        text = importlib.import_module("rich.text")
        shown = table.Table.grid(padding=(0, 2))
        for name, value in record.items():
            shown.add_row(name.replace("_", " "), text.Text(cell(value)))
        self._draw(shown)

    def fail(self, error: Exception) -> None:
        """Say what went wrong, on standard error."""
        if self.as_json:
            told = getattr(error, "told", None) or {"message": str(error)}
            print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
        else:
            print(f"bellhop: {error}", file=sys.stderr)

    def _draw(self, drawing: Any) -> None:
        console = importlib.import_module("rich.console")
        width = None if sys.stdout.isatty() else _PIPE_COLUMNS
        console.Console(width=width, highlight=False).print(drawing)


def cell(value: Any) -> str:
    """Return a value as it stands in a table; what would steer a terminal does not."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            text = value
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return "".join(c if c.isprintable() else " " for c in text)
