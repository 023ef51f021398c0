"""What every service can be told, and how: environment variables ``BELLHOP_*``.

Read once, in ``__main__``, all errors at once, and passed down as values.  No other
module looks at the environment.  A new setting works when it is absent.
"""

import sys
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from libs.common.plans import PlanLimits, operator_limits

Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceSettings(BaseSettings):
    """The knobs that all services share; each service adds its own."""

    model_config = SettingsConfigDict(
        env_prefix="BELLHOP_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
    )

    #: Development allows http and loopback targets; production refuses them.
    environment: Annotated[str, Field(pattern="^(development|production)$")] = (
        "production"
    )
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    #: Health, readiness and metrics over HTTP; 0 takes any free port.
    health_host: str = "127.0.0.1"
    health_port: Port = 9090
    #: When set, ``/metrics`` asks for it as a bearer token.
    metrics_token: SecretStr | None = None
    #: Where spans are sent (OTLP over HTTP); absent, nothing is traced.
    otlp_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    #: How long work in hand may take to finish after SIGTERM.
    drain_seconds: float = Field(default=25.0, gt=0, le=600)
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @property
    def development(self) -> bool:
        """Whether targets on this machine and plain http are allowed."""
        return self.environment == "development"

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment; on errors print all of them and exit with 2."""
        try:
            return cls()
        except ValidationError as errors:
            for error in errors.errors(include_url=False, include_input=False):
                name = ".".join(str(part) for part in error["loc"]).upper()
                known = name in {"DATABASE_URL", "NATS_URL"}
                variable = name if known else f"BELLHOP_{name}"
                print(f"{variable}: {error['msg']}", file=sys.stderr)  # noqa: T201
            sys.exit(2)


class DatabaseSettings(ServiceSettings):
    """The knobs of a service that talks to Postgres."""

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    pool_size: int = Field(default=4, ge=1, le=100)


class PlanSettings(DatabaseSettings):
    """The knobs of a service that creates jobs within what plans allow."""

    #: What the operator says of the plans: tier → limit → number or null.
    plan_limits: Annotated[PlanLimits | None, NoDecode] = None

    @field_validator("plan_limits", mode="before")
    @classmethod
    def _are_limits(cls, value: object) -> PlanLimits | None:
        return None if value is None else operator_limits(value)
