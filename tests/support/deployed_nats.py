"""A NATS with the configuration that is handed out in ``deploy/nats``."""

import asyncio
import json
import os
import sysconfig
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.cli.embedded.ports import free_port
from tests.support.waiting import until

DEPLOYED = Path(__file__).parents[2] / "deploy/nats"
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
PASSWORDS = ("NATS_PASSWORD", *(f"NATS_{name.upper()}_PASSWORD" for name in SERVICES))


@dataclass(frozen=True, slots=True)
class DeployedServer:
    """Where it is, and where one can ask how it does."""

    address: str
    monitoring: str
    log: Path


def user(name, address):
    """The URL of one of its users, all of whom have the same password here."""
    return f"nats://{name}:12ab@{address}"


@asynccontextmanager
async def deployed_server(directory, accounts=()):
    """Run nats-server with what is handed out, here and on free ports.

    *accounts* are those of organizations, as (name, account).
    """
    port, monitoring = free_port(), free_port()
    main = (DEPLOYED / "bellhop.conf").read_text()
    for given, here in (
        ("0.0.0.0:4222", f"127.0.0.1:{port}"),
        ("0.0.0.0:8222", f"127.0.0.1:{monitoring}"),
        ("/data", str(directory / "data")),
    ):
        assert main.count(given) == 1
        main = main.replace(given, here)
    (directory / "bellhop.conf").write_text(main)
    services = (DEPLOYED / "users.conf").read_text()
    assert services.count("\n}") == 1
    more = "\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in accounts)
    (directory / "users.conf").write_text(services.replace("\n}", f"\n{more}\n}}"))
    log = directory / "nats.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            Path(sysconfig.get_path("scripts")) / "nats-server",
            "--config",
            directory / "bellhop.conf",
            # Quoted, as a password of digits and letters has to be.
            env={**os.environ, **dict.fromkeys(PASSWORDS, '"12ab"')},
            stderr=written,
        )

    async def answers():
        assert process.returncode is None, log.read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await until(answers, at_most=10)
        yield DeployedServer(f"127.0.0.1:{port}", f"127.0.0.1:{monitoring}", log)
    finally:
        process.terminate()
        await process.wait()
