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
    """Where the REST API listens; `0.0.0.0` in containers."""
    http_port: Port = 8080
    """The same; 0 takes any free port."""
    grpc_host: str = "127.0.0.1"
    """Where gRPC listens; `0.0.0.0` in containers."""
    grpc_port: Port = 50051
    """The same; 0 takes any free port."""
    share_ports: bool = False
    """Whether other processes of this service may listen on the same ports; see
    [several processes](#several-processes).
    """
    grpc_tls_cert_path: str | None = None
    """A PEM file with gRPC's certificate and its chain: with it and the key gRPC speaks
    TLS, without both it does not.
    """
    grpc_tls_key_path: str | None = None
    """A PEM file with the certificate's key."""
    secret_key: SecretStr
    """Seals signing secrets: 32 bytes in base64. Several, newest first, separated by
    commas: the first seals, all open.
    """
    token_key: SecretStr | None = None
    """Signs the tokens of sessions: 32 bytes in base64, or several as above: the first
    signs, all verify. Absent: derived from `BELLHOP_SECRET_KEY`.
    """
    jwt_expiration_hours: int = Field(default=24, ge=1, le=8760)
    """How long an access token lives; a refresh token lives 24 times as long."""
    api_key_prefix: Literal["sk", "sp"] = "sk"
    """How the API keys made here begin: `sk` or `sp`. Both are accepted."""
    admin_key: SecretStr | None = None
    """Opens what only the administrator may (`X-Admin-Key`); closed while absent."""
    registration_mode: Annotated[str, Field(pattern="^(open|closed|invite)$")] = (
        "closed"
    )
    """Who may create organizations: `open` is anybody, `closed` who has the admin key,
    `invite` nobody but through the administrator's own routes.
    """
    external_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] = (
        "http://127.0.0.1:8080"
    )
    """Where the outside reaches the API: what addresses in answers (`webhook_url`)
    begin with.
    """
    streamer_url: str | None = None
    """Where the streamer is, when ingest is to pass its routes on; absent when
    something in front routes by path.
    """
    request_timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    """How long a request may take before it gets 408; long polls and event streams have
    a time of their own.
    """
    cors_allowed_origins: str | None = None
    """Whose pages may read answers in a browser: origins (`https://app.example.com`),
    separated by commas. Absent, it is anybody's in development and nobody's in
    production.
    """
    enable_hsts: bool = False
    """Whether browsers are told to come back over https only
    (`Strict-Transport-Security`).
    """
    pool_size: int = Field(default=8, ge=2, le=100)
    """As above, at least 2, of each of two kinds: for what is on the way of a job, and
    for everything else.
    """
    create_batch_max: int = Field(default=500, ge=1, le=5000)
    """How many creates share one statement at most."""
    create_lanes: int = Field(default=2, ge=1, le=16)
    """How many such statements are under way at once."""
    work_batch_max: int = Field(default=500, ge=1, le=5000)
    """How many claims of workers, or jobs that they settle or keep, share one statement
    at most.
    """
    work_lanes: int = Field(default=2, ge=1, le=16)
    """How many such statements are under way at once, of each kind."""
    require_lease_id: bool = False
    """Refuse (400) to settle or keep a job without its `lease_id`."""

    public_rate_per_second: int = Field(default=100, ge=1, le=1_000_000)
    """What one client address may ask of the routes that need no credential, and how
    often it may be wrong about one; counted by each process for itself.
    """
    public_rate_burst: int = Field(default=200, ge=1, le=1_000_000)
    """The same, at once."""
    login_rate_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    """How often one API key may be changed for tokens."""
    trusted_proxy_hops: int = Field(default=0, ge=0, le=16)
    """How many proxies in front add to `X-Forwarded-For`: the client is that many from
    its right end. With 0 the header is ignored, and the client is who connected.
    """
    trusted_client_ip_header: str | None = None
    """The header in which the proxy names the client, e.g. `CF-Connecting-IP`; only
    where nobody can reach this service past the proxy.
    """
    mail_provider: Literal["none", "console", "smtp"] | None = None
    """Who carries sign-in codes: `none`, `console` (into the log) or `smtp`. Absent:
    `console` in development, `none` in production.
    """
    mail_from: str | None = None
    """Whom mails are from; needed for `smtp`."""
    smtp_host: str | None = None
    """The mail server; needed for `smtp`."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """The same."""
    smtp_username: str | None = None
    """Who to be there."""
    smtp_password: SecretStr | None = None
    """The same."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`, `tls` (from the start, usually port 465) or `none`."""

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
