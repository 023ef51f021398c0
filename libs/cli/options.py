"""Options that several commands have."""

from typing import Final

import click

from libs.cli.settings import REPLICAS_MAX

replicas_option: Final = click.option(
    "--replicas",
    "--workers",
    type=click.IntRange(1, REPLICAS_MAX),
    metavar="N",
    help="How many processes of each service (default: 1).",
)
