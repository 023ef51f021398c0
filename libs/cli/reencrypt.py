"""``bellhop reencrypt``: seals with the newest key what older keys sealed."""

import asyncio
import importlib
from functools import partial
from typing import Any

import click

from libs.cli.commands import Command
from libs.cli.output import Output
from libs.cli.settings import StackSettings, Unusable


@click.command(cls=Command)
@click.pass_obj
def reencrypt(out: Output) -> int:
    """Seal with the newest key of BELLHOP_SECRET_KEY what older keys sealed.

    Ends with 1 when something is left that none of the keys opens.
    """
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
            settings.database_url.get_secret_value(), sealer, told=partial(_say, out)
        )
    )
    for part, count in sorted(done.resealed.items()):
        out.say(f"{part}: {count} sealed anew")
    for part, count in sorted(done.unopened.items()):
        out.say(f"{part}: {count} left: their key is none of those given")
    out.result(
        {
            "resealed": dict(done.resealed),
            "unopened": dict(done.unopened),
            "key": sealer.newest_id.hex(),
        },
        None
        if done.unopened
        else f"Everything is sealed with key {sealer.newest_id.hex()}. When every "
        "service has it, and a minute has passed, the older ones may go.",
    )
    return 1 if done.unopened else 0


def _say(out: Output, progress: Any) -> None:
    out.say(f"… {progress.resealed.total()} sealed anew")
