"""``bellhop serve`` and ``bellhop migrate``: one piece of the house, on its own."""

import asyncio
import importlib
from typing import Final

import click

from libs.cli.commands import Command
from libs.cli.options import replicas_option
from libs.cli.output import Output
from libs.cli.replicas import run_replicas
from libs.cli.settings import StackSettings, Unusable
from libs.common.log import start_logging

_SERVICES: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")


@click.command(cls=Command)
@click.argument("service", type=click.Choice(_SERVICES))
@replicas_option
def serve(service: str, replicas: int | None) -> int:
    """Run one service, as ``python -m services.SERVICE`` does; its log is JSON."""
    # By name, since an installation may hold the packages of one service only.
    if replicas is None or replicas == 1:
        module = importlib.import_module(f"services.{service}.__main__")
        return int(module.main())
    module = importlib.import_module(f"services.{service}.settings")
    return run_replicas(service, replicas, module.Settings.from_env())


@click.command(cls=Command)
@click.option(
    "--wait", is_flag=True, help="change nothing; return once somebody else did it"
)
@click.pass_obj
def migrate(out: Output, *, wait: bool) -> None:
    """Bring the database in DATABASE_URL to the schema of this code."""
    settings = StackSettings.from_env()
    if settings.database_url is None:
        raise Unusable("DATABASE_URL: give the database to migrate")
    start_logging("migrate", level="info")
    module = importlib.import_module("libs.common.migrate")
    url = settings.database_url.get_secret_value()
    if wait:
        asyncio.run(module.until_migrated(url))
        applied = 0
    else:
        applied = asyncio.run(module.migrate_patiently(url))
    out.result({"applied": applied})
