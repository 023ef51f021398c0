"""How a command that asks the API is made, and what such commands share.

A command is a coroutine that gets the API, the output, and its own parameters.
"""

import asyncio
import functools
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

import click

from libs.cli.api.access import find_access
from libs.cli.api.client import open_api
from libs.cli.commands import Command
from libs.cli.output import Output
from libs.cli.settings import Unusable
from libs.common.errors import BellhopError

Asking = Callable[..., Coroutine[Any, Any, int | None]]

#: As a shell has it of a program that SIGTERM ended.
_TERMINATED: Final = 128 + signal.SIGTERM

_URL: Final = click.option(
    "--url",
    "bellhop_url",
    envvar="BELLHOP_URL",
    help="Where Bellhop is; else BELLHOP_URL, or the stack of this machine.",
)


def api_command(
    *, key: Literal["api", "admin"] = "api"
) -> Callable[[Asking], click.Command]:
    """Make a command of a coroutine, which is called with the API and the output."""
    key_option = click.option(
        f"--{key}-key",
        "opener",
        envvar=f"BELLHOP_{key.upper()}_KEY",
        help=f"Opens it; else BELLHOP_{key.upper()}_KEY, or the stack's.",
    )

    def make(function: Asking) -> click.Command:
        @functools.wraps(function)
        def run(
            out: Output, /, bellhop_url: str | None, opener: str | None, **asked: Any
        ) -> int | None:
            async def ask() -> int | None:
                # Told to end, it ends as well as after Ctrl-C.
                running = asyncio.current_task()
                assert running is not None  # noqa: S101 - of asyncio.run
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGTERM, running.cancel)
                access = find_access(bellhop_url, opener, admin=key == "admin")
                async with open_api(access) as api:
                    return await function(api, out, **asked)

            try:
                return asyncio.run(ask())
            except asyncio.CancelledError:
                return _TERMINATED

        name = function.__name__.strip("_").replace("_", "-")
        return click.command(name, cls=Command)(_URL(key_option(click.pass_obj(run))))

    return make


limit_option: Final = click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="At most so many.",
)
yes_option: Final = click.option("--yes", is_flag=True, help="Do not ask.")


#: What ends long work in the middle; how far it came is then said all the same.
STOPPED: Final = (BellhopError, asyncio.CancelledError)

#: What stands for a value that was not given: null is one.
ABSENT: Final = object()


class Json(click.ParamType[Any]):
    """JSON: as it stands, of a file (``@file``), or of standard input (``-``)."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the value; what cannot be read ends the command with 2."""
        if not isinstance(value, str):
            return value
        try:
            if value == "-":
                return json.load(sys.stdin)
            if value.startswith("@"):
                with click.open_file(value[1:], encoding="utf-8") as file:
                    return json.load(file)
            return json.loads(value)
        except (OSError, ValueError) as error:
            self.fail(f"{value[:40]}: {error}", param, ctx)


class Setting(click.ParamType[Any]):
    """One field of a request: ``name=value``, with JSON or else a text as value."""

    name = "field=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return name and value."""
        name, found, text = str(value).partition("=")
        if not found or not name:
            self.fail(f"{value!r} is no field=value", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


set_option: Final = click.option(
    "--set",
    "fields",
    type=Setting(),
    multiple=True,
    help="Any field of the API's, as name=JSON or name=text; may be repeated.",
)


def body_of(fields: tuple[tuple[str, Any], ...], **named: Any) -> dict[str, Any]:
    """Return a request's body: what was named, and what --set says besides."""
    return {**{k: v for k, v in named.items() if v not in (None, ())}, **dict(fields)}


def make_sure(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; ends the command unless told yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Unusable(f"{question} Nobody is here to say so: give --yes")
    click.confirm(question, abort=True, err=True)
