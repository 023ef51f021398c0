"""The knobs of the delivery service."""

from pydantic import Field, SecretStr, field_validator

from libs.common.sealing import Sealer
from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from the environment, once."""

    #: Base64 keys of 32 bytes, newest first, that open sealed signing secrets.
    secret_key: SecretStr
    #: How many attempts this pod carries at once, those included whose verdict is
    #: not yet committed.
    delivery_slots: int = Field(default=1024, ge=1, le=10_000)
    #: How long a connection may take to be there, TLS included; an attempt's own
    #: time-out covers it too.
    delivery_connect_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    #: How long an idle connection to a receiver is kept for the next attempt.
    delivery_keepalive_seconds: float = Field(default=30.0, ge=0, le=600)
    #: How long the address of a name is remembered.
    delivery_dns_cache_seconds: int = Field(default=10, ge=0, le=3600)

    @field_validator("secret_key")
    @classmethod
    def _opens(cls, value: SecretStr) -> SecretStr:
        Sealer(value.get_secret_value())
        return value
