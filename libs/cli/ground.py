"""What a stack stands on, and what each service is told of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from libs.cli.embedded.ports import (
    free_port,
    is_free,
    remember_port,
    remembered_port,
    take_port,
)
from libs.cli.first_run import Credentials, load_credentials
from libs.cli.guide import taken
from libs.cli.service_process import LISTENING, ServiceProcess, numbered
from libs.cli.settings import GRPC_PORT, HTTP_PORT, StackSettings, Unusable
from libs.common.tokens import spelled_keys, token_keys

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the API listens."""

    http: int
    grpc: int

    @classmethod
    def choose(cls, settings: StackSettings, say: Say) -> Self:
        """Take the ports asked for, else the usual ones, else any that are free.

        Raises `Unusable` when a port that was asked for is taken.
        """
        data_dir = settings.data_dir
        return cls(
            http=_port(
                data_dir / "http-port",
                wanted=settings.port,
                usual=HTTP_PORT,
                variable="BELLHOP_PORT",
                say=say,
            ),
            grpc=_port(
                data_dir / "grpc-port",
                wanted=settings.grpc_port,
                usual=GRPC_PORT,
                variable="BELLHOP_GRPC_PORT",
                say=say,
            ),
        )


@dataclass(frozen=True, slots=True)
class Ground:
    """What the services stand on."""

    database_url: str
    nats_url: str
    credentials: Credentials
    ports: Ports


def credentials(settings: StackSettings) -> Credentials:
    """Return the stack's keys, those given in the settings instead of its own."""
    given = {
        name: secret.get_secret_value()
        for name in ("admin_key", "secret_key")
        if (secret := getattr(settings, name)) is not None
    }
    return load_credentials(settings.data_dir).model_copy(update=given)


def services_on(ground: Ground, settings: StackSettings) -> list[ServiceProcess]:
    """Return the five services, each in as many processes as the settings say."""
    return [
        ServiceProcess(
            kind,
            number=number,
            log=settings.data_dir / "logs" / f"{numbered(kind, number)}.log",
            health_port=free_port(),
            environment=environment,
            drain_seconds=settings.drain_seconds,
        )
        for kind, environment in _told(ground, settings).items()
        for number in range(1, settings.replicas_of(kind) + 1)
    ]


def _told(ground: Ground, settings: StackSettings) -> dict[str, dict[str, str]]:
    """Return what each service is told: what it needs, and no other secret."""
    common = {
        "NATS_URL": ground.nats_url,
        "BELLHOP_ENVIRONMENT": settings.environment,
        "BELLHOP_DRAIN_SECONDS": str(settings.drain_seconds),
    }
    database = {**common, "DATABASE_URL": ground.database_url}
    sealing = {"BELLHOP_SECRET_KEY": ground.credentials.secret_key}
    streamer_port = free_port()
    told = {
        "dispatcher": database,
        "delivery": {**common, **sealing},
        "scheduler": database,
        "streamer": {
            **database,
            # It knows tokens by this, and can open nothing that is sealed.
            "BELLHOP_TOKEN_KEY": spelled_keys(
                token_keys(ground.credentials.secret_key)
            ),
            "BELLHOP_HTTP_PORT": str(streamer_port),
        },
        "ingest": {
            **database,
            **sealing,
            "BELLHOP_ADMIN_KEY": ground.credentials.admin_key,
            "BELLHOP_HTTP_PORT": str(ground.ports.http),
            "BELLHOP_GRPC_PORT": str(ground.ports.grpc),
            "BELLHOP_STREAMER_URL": f"http://127.0.0.1:{streamer_port}",
            "BELLHOP_EXTERNAL_URL": settings.external_url
            or f"http://127.0.0.1:{ground.ports.http}",
        },
    }
    for name in LISTENING:
        if settings.replicas_of(name) > 1:
            told[name]["BELLHOP_SHARE_PORTS"] = "true"
    return told


def _port(
    memory: Path, *, wanted: int | None, usual: int, variable: str, say: Say
) -> int:
    if wanted:
        if not is_free(wanted):
            raise Unusable(
                f"{variable}: port {wanted} is taken; name another one, or 0 for any"
            )
        return wanted
    if wanted is None and take_port(usual):
        return usual
    port = remembered_port(memory)
    remember_port(memory, port)
    if wanted is None:
        say(taken(usual, port, variable))
    return port
