"""What the stack on this machine can be told: environment variables, all optional."""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.errors import BellhopError
from libs.common.settings import Port

HTTP_PORT: Final = 8080
GRPC_PORT: Final = 50051

#: More than a machine has use for is a typing error.
REPLICAS_MAX: Final = 64
Replicas = Annotated[int, Field(ge=1, le=REPLICAS_MAX)]


class Unusable(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """A setting is not what it should be, or what it names is not to be had."""


class StackSettings(BaseSettings):
    """Where a stack lives, and what it does not have to start by itself."""

    model_config = SettingsConfigDict(
        env_prefix="BELLHOP_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path(".bellhop")
    """Holds everything that must last; two stacks have two of them."""
    port: Port | None = None
    """Where the API listens; absent takes 8080 or, if that is taken, any; 0 takes any.
    """
    grpc_port: Port | None = None
    """The same for gRPC, with 50051."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias="DATABASE_URL"
    )
    """When given, the embedded PostgreSQL is not started."""
    nats_url: str | None = Field(default=None, validation_alias="NATS_URL")
    """When given, the embedded NATS is not started."""
    secret_key: SecretStr | None = None
    """Used instead of the one that the stack made for itself."""
    admin_key: SecretStr | None = None
    """The same."""
    external_url: str | None = None
    """Where the outside reaches the API; absent is this machine, at its port."""
    environment: Annotated[str, Field(pattern="^(development|production)$")] = (
        "development"
    )
    """As above, but for this machine."""
    replicas: Replicas = 1
    """How many processes of each service run; `make up REPLICAS=2` is the same."""
    replicas_ingest: Replicas | None = None
    """The same of `ingest` alone."""
    replicas_dispatcher: Replicas | None = None
    """The same of `dispatcher` alone."""
    replicas_delivery: Replicas | None = None
    """The same of `delivery` alone."""
    replicas_scheduler: Replicas | None = None
    """The same of `scheduler` alone."""
    replicas_streamer: Replicas | None = None
    """The same of `streamer` alone."""
    drain_seconds: float = Field(default=25.0, gt=0, le=600)
    """How long each service may take to finish its work in hand."""

    def replicas_of(self, service: str) -> int:
        """Return how many processes of *service* run here."""
        own: int | None = getattr(self, f"replicas_{service}")
        return self.replicas if own is None else own

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment; raises `Unusable` with all that is wrong."""
        try:
            return cls()
        except ValidationError as errors:
            found = errors.errors(include_url=False, include_input=False)
            raise Unusable(
                "\n".join(
                    f"BELLHOP_{str(e['loc'][0]).upper()}: {e['msg']}" for e in found
                )
            ) from errors
