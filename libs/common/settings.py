"""What every service can be told, and how: environment variables ``BELLHOP_*``.

Read once, in ``__main__``, all errors at once, and passed down as values.  No other
module looks at the environment.  A new setting works when it is absent.
"""

import sys
from typing import Annotated, Literal, Self

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
        use_attribute_docstrings=True,
    )

    environment: Annotated[str, Field(pattern="^(development|production)$")] = (
        "production"
    )
    """`production` or `development`. Development allows targets that are plain http or
    on private and loopback addresses.
    """
    nats_url: str = Field(default="nats://127.0.0.1:4222", validation_alias="NATS_URL")
    """Where NATS is; several servers separated by commas."""
    health_host: str = "127.0.0.1"
    """Where `/health/live`, `/health/ready` and `/metrics` listen; `0.0.0.0` in
    containers.
    """
    health_port: Port = 9090
    """The same; 0 takes any free port."""
    metrics_token: SecretStr | None = None
    """When set, `/metrics` asks for it as a bearer token."""
    otlp_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    """Where spans are sent, by OTLP over HTTP: what happens to jobs is traced only with
    it, or with the next. Then all of OpenTelemetry's other `OTEL_*` count; see
    [tracing](tracing.md).
    """
    otlp_traces_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )
    """The same, as the whole URL."""
    otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    """How spans are sent: `http/protobuf` is the one way there is."""
    drain_seconds: float = Field(default=25.0, gt=0, le=600)
    """How long work in hand may take to finish after SIGTERM; whoever kills afterwards
    should wait five seconds more.
    """
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    """`debug`, `info`, `warning` or `error`."""

    @property
    def traced(self) -> bool:
        """Whether there is somewhere to send spans to."""
        return bool(self.otlp_endpoint or self.otlp_traces_endpoint)

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
                known = name in {"DATABASE_URL", "NATS_URL"} or name.startswith("OTEL_")
                variable = name if known else f"BELLHOP_{name}"
                print(f"{variable}: {error['msg']}", file=sys.stderr)  # noqa: T201
            sys.exit(2)


class DatabaseSettings(ServiceSettings):
    """The knobs of a service that talks to Postgres."""

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    """PostgreSQL 15 to 18, as `postgresql://user:password@host:port/database`."""
    pool_size: int = Field(default=4, ge=1, le=100)
    """How many connections the process may hold."""


class PlanSettings(DatabaseSettings):
    """The knobs of a service that creates jobs within what plans allow."""

    plan_limits: Annotated[PlanLimits | None, NoDecode] = None
    """What the operator says of the plans, as a JSON object: tier, limit, number or
    `null` for none, e.g. `{"free": {"max_queues": 5}}`. What schedules create counts,
    too, and [retention](retention.md) goes by it: the same for both.
    """

    @field_validator("plan_limits", mode="before")
    @classmethod
    def _are_limits(cls, value: object) -> PlanLimits | None:
        return None if value is None else operator_limits(value)
