"""The ``bellhop`` command; from the tree, ``python -m libs.cli``."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from typing import Final

from libs.common.errors import BellhopError

SERVICES: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")

#: Which function a command is, imported only when it is asked for: an image with one
#: service's packages still has all commands' names.
COMMANDS: Final = {
    "up": ("libs.cli.up:up", "run everything here until Ctrl-C"),
    "start": ("libs.cli.background:start", "run everything in the background"),
    "stop": ("libs.cli.background:stop", "stop what runs in the background"),
    "status": ("libs.cli.background:status", "say what runs, and where"),
    "clean": ("libs.cli.background:clean", "stop, and forget all data"),
    "demo": ("libs.cli.demo:demo", "show deliveries, retries and a dead letter"),
    "receiver": ("libs.cli.receiver:receiver", "receive webhooks and show them"),
    "serve": ("libs.cli.services:serve", "run one service"),
    "reencrypt": (
        "libs.cli.reencrypt:reencrypt",
        "seal with the newest of BELLHOP_SECRET_KEY what older keys sealed",
    ),
    "nats-user": (
        "libs.cli.nats_users:nats_user",
        "make a user of NATS for the programs of one organization",
    ),
    "migrate": ("libs.cli.services:migrate", "bring DATABASE_URL to this schema"),
}


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="bellhop",
        description="Webhooks and background jobs, from accepted to delivered.",
        epilog="BELLHOP_DATA_DIR, BELLHOP_PORT, BELLHOP_GRPC_PORT (0: any free port), "
        "DATABASE_URL and NATS_URL say where a stack lives and what it uses.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        for name, (_, text) in COMMANDS.items()
    }
    parsers["serve"].add_argument("service", choices=SERVICES)
    parsers["receiver"].add_argument("--port", type=int, default=9000)
    parsers["receiver"].add_argument(
        "--status", type=int, default=204, help="what to answer (default: 204)"
    )
    parsers["receiver"].add_argument(
        "--key",
        action="append",
        default=[],
        help="an endpoint's secret (whsec_…) or public key (whpk_…); may be repeated",
    )
    parsers["nats-user"].add_argument("organization", help="the organization's id")
    parsers["nats-user"].add_argument(
        "--consumer",
        action="append",
        default=[],
        help="another durable consumer that it may have; may be repeated",
    )
    arguments = parser.parse_args()
    # Logs and data are nobody else's business.
    os.umask(0o077)
    try:
        return _function(COMMANDS[arguments.command][0])(arguments)
    except BellhopError as error:
        print(f"bellhop: {error}", file=sys.stderr)
        return 1


def _function(path: str) -> Callable[[argparse.Namespace], int]:
    module, _, name = path.partition(":")
    function: Callable[[argparse.Namespace], int] = getattr(
        importlib.import_module(module), name
    )
    return function


if __name__ == "__main__":
    sys.exit(main())
