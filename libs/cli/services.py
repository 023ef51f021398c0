"""``bellhop serve`` and ``bellhop migrate``: one piece of the house, on its own."""

import argparse
import asyncio
import importlib

from libs.cli.settings import StackSettings, Unusable


def serve(arguments: argparse.Namespace) -> int:
    """Run one service, as ``python -m services.<name>`` does."""
    # By name, since an installation may hold the packages of one service only.
    module = importlib.import_module(f"services.{arguments.service}.__main__")
    return int(module.main())


def migrate(_: argparse.Namespace) -> int:
    """Bring the database in DATABASE_URL to the schema of this code."""
    settings = StackSettings.from_env()
    if settings.database_url is None:
        raise Unusable("DATABASE_URL: give the database to migrate")
    module = importlib.import_module("libs.common.migrate")
    asyncio.run(module.migrate(settings.database_url.get_secret_value()))
    return 0
