"""The knobs of the delivery service."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from pydantic import Field, SecretStr, field_validator

from libs.common.sealing import Sealer
from libs.common.settings import ServiceSettings

#: What development allows when nothing is said: this machine, and private networks
#: (containers).  Not link-local, where clouds keep their metadata.
_DEVELOPMENT_CIDRS: Final = (
    "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
)
#: Docker, etcd, MySQL, NATS, PostgreSQL, Redis, Kubernetes, Elasticsearch, memcached,
#: MongoDB: what speaks no HTTP, or HTTP that no webhook is for.
_DENIED_PORTS: Final = (
    "2375,2376,2379,2380,3306,4222,5432,6222,6379,6443,8222,9200,9300,"
    "10250,10255,11211,27017"
)
_PORT_MAX: Final = 65535


class Settings(ServiceSettings):
    """Read from the environment, once."""

    #: Whether receivers are told of what trace an attempt is (``traceparent``).
    send_traceparent: bool = False
    #: Base64 keys of 32 bytes, newest first, that open sealed signing secrets.
    secret_key: SecretStr
    #: How many attempts this pod carries at once, those included whose verdict is
    #: not yet committed.
    delivery_slots: int = Field(default=1024, ge=1, le=10_000)
    #: How many bytes of bodies that do not travel with their batch this pod holds at
    #: once; the next one waits for room.
    delivery_bodies_bytes_max: int = Field(default=128 * 1024 * 1024, ge=1)
    #: How long a connection may take to be there, TLS included; an attempt's own
    #: time-out covers it too.
    delivery_connect_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    #: How long an idle connection to a receiver is kept for the next attempt.
    delivery_keepalive_seconds: float = Field(default=30.0, ge=0, le=600)
    #: How many idle connections are kept: those that have been idle for longest go.
    delivery_idle_connections_max: int = Field(default=4096, ge=0, le=100_000)
    #: How long the address of a name is remembered.
    delivery_dns_cache_seconds: int = Field(default=10, ge=0, le=3600)
    #: Blocks of private or otherwise special addresses that names may lead to,
    #: separated by commas; absent, none in production.
    delivery_allowed_cidrs: str | None = None
    #: Blocks that nothing is carried to, separated by commas, whatever else is
    #: allowed: public addresses of this house, of its nodes or its API server.
    delivery_denied_cidrs: str | None = None
    #: Ports from 1024 on that nothing is carried to, separated by commas.  Of the
    #: lower ones 80 and 443 are carried to.
    delivery_denied_ports: str = _DENIED_PORTS

    @property
    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The blocks that are allowed although they are special."""
        absent = _DEVELOPMENT_CIDRS if self.development else ""
        return _networks(self.delivery_allowed_cidrs or absent)

    @property
    def denied_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The blocks that are not carried to although they are ordinary."""
        return _networks(self.delivery_denied_cidrs or "")

    @property
    def denied_ports(self) -> frozenset[int]:
        """The ports that nothing is carried to."""
        return frozenset(_ports(self.delivery_denied_ports))

    @field_validator("delivery_allowed_cidrs", "delivery_denied_cidrs")
    @classmethod
    def _are_networks(cls, value: str | None) -> str | None:
        _networks(value or "")
        return value

    @field_validator("delivery_denied_ports")
    @classmethod
    def _are_ports(cls, value: str) -> str:
        if not all(1 <= port <= _PORT_MAX for port in _ports(value)):
            raise ValueError(f"must be ports from 1 to {_PORT_MAX}")
        return value

    @field_validator("secret_key")
    @classmethod
    def _opens(cls, value: SecretStr) -> SecretStr:
        Sealer(value.get_secret_value())
        return value


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part) for part in _parts(text))


def _ports(text: str) -> list[int]:
    return [int(part) for part in _parts(text)]
