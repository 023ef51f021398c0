"""The knobs of the ingest service."""

from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator

from libs.common.sealing import Sealer
from libs.common.settings import DatabaseSettings, Port

#: The largest payload of a job, in bytes (contract, Limits).
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
#: The largest request body, in bytes (contract 1.0, Body).
BODY_BYTES_MAX: Final = 2 * 1024 * 1024


class Settings(DatabaseSettings):
    """Read from the environment, once."""

    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    grpc_host: str = "127.0.0.1"
    grpc_port: Port = 50051
    #: Base64 keys of 32 bytes, newest first, that seal signing secrets.
    secret_key: SecretStr
    #: Opens the administrator's routes; they are closed while it is absent.
    admin_key: SecretStr | None = None
    #: Who may create organizations: anybody, or who has the admin key.
    registration_mode: Annotated[str, Field(pattern="^(open|closed)$")] = "closed"
    #: Where the streamer listens, when this service is to pass its routes on.
    streamer_url: str | None = None
    pool_size: int = Field(default=8, ge=2, le=100)
    #: How many creates share one statement at most, and how many are under way.
    create_batch_max: int = Field(default=500, ge=1, le=5000)
    create_lanes: int = Field(default=2, ge=1, le=16)

    @field_validator("secret_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        Sealer(value.get_secret_value())
        return value
