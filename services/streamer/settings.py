"""The knobs of the streamer."""

from pydantic import Field, SecretStr, field_validator

from libs.common.settings import DatabaseSettings, Port
from libs.common.tokens import read_keys


class Settings(DatabaseSettings):
    """How the streamer listens, and how much it does for one watcher."""

    http_host: str = "127.0.0.1"
    """Where the event streams are; `0.0.0.0` in containers."""
    http_port: Port = 8081
    """The same; 0 takes any free port."""
    share_ports: bool = False
    """Whether other processes of this service may listen on the same port; see [several
    processes](#several-processes).
    """
    token_key: SecretStr | None = None
    """The same as ingest's, to know access tokens by; without it only API keys open a
    stream.
    """
    streams_per_organization_max: int = Field(default=100, ge=1, le=10_000)
    """How many event streams, and how many WebSockets, one organization may hold open
    at this process.
    """
    streams_max: int = Field(default=5_000, ge=1, le=100_000)
    """How many streams this process carries at once."""
    stream_buffer_bytes_max: int = Field(default=1024 * 1024, ge=1024)
    """What may wait for one watcher before it counts as too slow and is sent away."""
    stream_seconds_max: float = Field(default=1800.0, gt=0)
    """A stream ends after this long; clients connect again."""
    ping_seconds: float = Field(default=15.0, gt=0)
    """How often a comment keeps a quiet stream alive."""
    websocket_ping_seconds: float = Field(default=30.0, gt=0)
    """How often a WebSocket gets a sign of life, and its client is asked for one."""
    recheck_seconds: float = Field(default=0.5, gt=0, le=1)
    """How often the credentials of open streams are looked at again, all in one
    question; at most 1.
    """
    recent_bytes_max: int = Field(default=32 * 1024 * 1024, ge=0)
    """How much of what happened last is kept in memory, for who comes back soon."""
    replay_days_max: float = Field(default=7.0, gt=0, le=366)
    """How long ago a client may have left to be told what it missed."""
    queue_stats_seconds: float = Field(default=0.5, gt=0, le=60)
    """How often a watcher of a queue is told how it stands, while that changes."""
    system_health_seconds: float = Field(default=10.0, gt=0)
    """How often a watcher of everything is told how the house is."""

    @field_validator("token_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_keys(value.get_secret_value())
        return value
