"""The knobs of the ingest service."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from libs.common.sealing import Sealer
from libs.common.settings import PlanSettings, Port
from libs.common.tokens import read_keys, token_keys

#: The largest payload of a job, in bytes (contract, Limits).
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
#: The largest request body, in bytes (contract 1.0, Body).
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
#: How many bytes of large request bodies are worked on at once, of all clients.
BODIES_BYTES_MAX: Final = 32 * 1024 * 1024
#: How many bytes of payloads, or of results, one statement takes in at most: there are
#: several copies of them while it is under way.
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
#: RFC 6454, section 6.2: what a browser sends as its origin.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+")


class Settings(PlanSettings):
    """Read from the environment, once."""

    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    grpc_host: str = "127.0.0.1"
    grpc_port: Port = 50051
    #: Whether other processes of this service may listen on the same ports.
    share_ports: bool = False
    #: PEM files of a certificate (with its chain) and its key: gRPC speaks TLS then.
    grpc_tls_cert_path: str | None = None
    grpc_tls_key_path: str | None = None
    #: Base64 keys of 32 bytes, newest first, that seal signing secrets.
    secret_key: SecretStr
    #: The same, that sign tokens; absent, they are derived from ``secret_key``.
    token_key: SecretStr | None = None
    #: How long an access token lives; a refresh token lives 24 times as long.
    jwt_expiration_hours: int = Field(default=24, ge=1, le=8760)
    #: How the API keys that we make begin (contract D5).
    api_key_prefix: Literal["sk", "sp"] = "sk"
    #: Opens the administrator's routes; they are closed while it is absent.
    admin_key: SecretStr | None = None
    #: Who may create organizations: anybody, or who has the admin key.
    registration_mode: Annotated[str, Field(pattern="^(open|closed|invite)$")] = (
        "closed"
    )
    #: Where the outside reaches this house: what addresses in answers begin with.
    external_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] = (
        "http://127.0.0.1:8080"
    )
    #: Where the streamer listens, when this service is to pass its routes on.
    streamer_url: str | None = None
    #: How long a request may take; long polls and streams have a time of their own.
    request_timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    #: Whose pages may read answers in a browser: origins, separated by commas.
    #: Absent, it is anybody's in development and nobody's in production.
    cors_allowed_origins: str | None = None
    #: Tell browsers to come back over https only.
    enable_hsts: bool = False
    pool_size: int = Field(default=8, ge=2, le=100)
    #: How many creates share one statement at most, and how many are under way.
    create_batch_max: int = Field(default=500, ge=1, le=5000)
    create_lanes: int = Field(default=2, ge=1, le=16)
    #: The same for workers: what they ask for, say of their jobs, and keep.
    work_batch_max: int = Field(default=500, ge=1, le=5000)
    work_lanes: int = Field(default=2, ge=1, le=16)
    #: Whether a worker must name the lease of a job that it settles or keeps (D1).
    require_lease_id: bool = False

    #: What strangers may ask, per client address.
    public_rate_per_second: int = Field(default=100, ge=1, le=1_000_000)
    public_rate_burst: int = Field(default=200, ge=1, le=1_000_000)
    #: How often one API key may be changed for tokens.
    login_rate_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    #: How many proxies in front of us add to X-Forwarded-For.
    trusted_proxy_hops: int = Field(default=0, ge=0, le=16)
    #: The header in which a proxy, that we trust, names the client.
    trusted_client_ip_header: str | None = None
    #: Who carries sign-in codes; absent: printed in development, nobody in production.
    mail_provider: Literal["none", "console", "smtp"] | None = None
    #: Whom mails are from.
    mail_from: str | None = None
    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    #: ``starttls`` (usually port 587), ``tls`` from the start (465), or ``none``.
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"

    @model_validator(mode="after")
    def _has_both_halves_of_tls(self) -> Self:
        if (self.grpc_tls_cert_path is None) != (self.grpc_tls_key_path is None):
            raise ValueError(
                "BELLHOP_GRPC_TLS_CERT_PATH and BELLHOP_GRPC_TLS_KEY_PATH go together"
            )
        return self

    @field_validator("mail_from", "smtp_host")
    @classmethod
    def _can_send_mail(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("mail_provider") == "smtp":
            raise ValueError("is needed to send mail")
        return value

    @property
    def token_keys(self) -> tuple[bytes, ...]:
        """What signs tokens, newest first."""
        if self.token_key is None:
            return token_keys(self.secret_key.get_secret_value())
        return read_keys(self.token_key.get_secret_value())

    @property
    def cors_origins(self) -> frozenset[str]:
        """The origins that may read answers, as browsers spell them."""
        named = (self.cors_allowed_origins or "").split(",")
        return frozenset(origin.strip() for origin in named if origin.strip())

    @field_validator("cors_allowed_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        for origin in (value or "").split(","):
            if origin.strip() and not _ORIGIN.fullmatch(origin.strip()):
                raise ValueError(
                    f"{origin.strip()!r} is no origin: scheme://host[:port], no more"
                )
        return value

    @field_validator("secret_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        Sealer(value.get_secret_value())
        return value

    @field_validator("token_key")
    @classmethod
    def _is_a_token_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_keys(value.get_secret_value())
        return value
