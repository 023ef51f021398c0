"""``bellhop reencrypt``: seals with the newest key what older keys sealed."""

import argparse
import asyncio
import importlib
from typing import Any

from libs.cli.settings import StackSettings, Unusable


def reencrypt(_: argparse.Namespace) -> int:
    """Seal everything anew; 1 when something is left that no key opens."""
    settings = StackSettings.from_env()
    if settings.database_url is None:
        raise Unusable("DATABASE_URL: give the database whose secrets to re-encrypt")
    if settings.secret_key is None:
        raise Unusable("BELLHOP_SECRET_KEY: give the keys, the newest first")
    # By name, since an installation may hold the packages of one service only.
    sealing = importlib.import_module("libs.common.sealing")
    resealing = importlib.import_module("libs.common.resealing")
    try:
        sealer = sealing.Sealer(settings.secret_key.get_secret_value())
    except ValueError as error:
        raise Unusable(f"BELLHOP_SECRET_KEY: {error}") from None
    done = asyncio.run(
        resealing.reseal_all(
            settings.database_url.get_secret_value(), sealer, told=_say
        )
    )
    for part, count in sorted(done.resealed.items()):
        print(f"{part}: {count} sealed anew")
    for part, count in sorted(done.unopened.items()):
        print(f"{part}: {count} left: their key is none of those given")
    if done.unopened:
        return 1
    print(
        f"Everything is sealed with key {sealer.newest_id.hex()}. When every service "
        "has it, and a minute has passed, the older ones may go."
    )
    return 0


def _say(progress: Any) -> None:
    print(f"… {progress.resealed.total()} sealed anew", flush=True)
