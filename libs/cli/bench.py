"""``bellhop bench``: the benchmark of the source tree, where there is one."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import click

from libs.cli.commands import Command
from libs.cli.output import Output
from libs.cli.service_process import tree_environment
from libs.cli.settings import Unusable


@click.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def bench(out: Output, options: tuple[str, ...]) -> int:
    """Measure jobs per second and latency on this machine.

    OPTIONS are those of ``python -m bench``: --jobs, --seconds, --runs, --only, --help.
    With --json it prints what stands in bench/latest.json, once all is measured.
    """
    found = importlib.util.find_spec("bench")
    if found is None or found.origin is None:
        raise Unusable("bench is not installed: run it from the source tree")
    if out.as_json and any(one.startswith("--only") for one in options):
        raise Unusable("--only: writes no file, so there is no JSON to print")
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        env=tree_environment(),
        stdout=sys.stderr if out.as_json else None,
        check=False,
    )
    if out.as_json and done.returncode == 0:
        out.result(json.loads((Path(found.origin).parent / "latest.json").read_text()))
    return done.returncode
