"""The ``bellhop`` command; from the tree, ``python -m libs.cli``.

It ends with 0 when what was asked for is done, 1 when it was refused or failed, 2 when
the command line cannot be understood, and 130 after Ctrl-C.
"""

import os
import sys
from typing import Final

import click

from libs.cli.commands import bellhop
from libs.cli.output import Output
from libs.common.errors import BellhopError

_INTERRUPTED: Final = 130


def main() -> int:
    """Do what the command line says; return the exit code."""
    # Logs and data are nobody else's business.
    os.umask(0o077)
    out = Output()
    try:
        code = _run(out)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BellhopError as error:
        out.fail(error)
        return 1
    except BrokenPipeError:
        # Whoever read us has seen enough, as ``head`` does; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return int(code or 0)


def _run(out: Output) -> int | None:
    """Run the command; of what ended tasks side by side, the first says why."""
    try:
        code: int | None = bellhop.main(
            prog_name="bellhop", standalone_mode=False, obj=out
        )
    except BaseExceptionGroup as group:
        told, bugs = group.split((BellhopError, BrokenPipeError))
        if told is None or bugs is not None:
            raise
        first: BaseException = told
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return code


if __name__ == "__main__":
    sys.exit(main())
