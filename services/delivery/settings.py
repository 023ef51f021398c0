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

    send_traceparent: bool = False
    """Whether receivers are told the trace (`traceparent`) of attempts that are traced;
    see [tracing](tracing.md).
    """
    secret_key: SecretStr
    """Opens signing secrets and credentials; the same as ingest's."""
    delivery_slots: int = Field(default=1024, ge=1, le=10_000)
    """How many attempts the pod carries at once, those included whose verdict is not
    yet committed.
    """
    delivery_bodies_bytes_max: int = Field(default=128 * 1024 * 1024, ge=1)
    """How many bytes of large bodies, those over 64 KiB and others that do not travel
    with their batch, the pod holds at once, beside its slots. The next one waits for
    room, in order, and is handed back without an attempt when its lease leaves no more
    time; smaller ones pass by. A body larger than this goes alone.
    """
    delivery_connect_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """How long a connection may take to be there, TLS included."""
    delivery_keepalive_seconds: float = Field(default=30.0, ge=0, le=600)
    """How long an idle connection to a receiver is kept for the next attempt, unless
    the receiver says less.
    """
    delivery_idle_connections_max: int = Field(default=4096, ge=0, le=100_000)
    """How many idle connections are kept, half of them to one receiver at the most;
    those that have been idle for longest go first.
    """
    delivery_dns_cache_seconds: int = Field(default=10, ge=0, le=3600)
    """How long the addresses of a name, which were checked, are remembered; 0 asks for
    every new connection.
    """
    delivery_allowed_cidrs: str | None = None
    """Blocks of private or otherwise special addresses that names may lead to,
    separated by commas: `10.20.0.0/16,fd12::/48`. Replaces what is absent: nothing in
    production, loopback and private blocks in development, there at any port. URLs that
    hold such an address themselves stay refused in production. Names are asked of DNS
    as whole names: dotted ones that stand in `/etc/hosts` only are not found.
    """
    delivery_denied_cidrs: str | None = None
    """Blocks that nothing is carried to, whatever else is allowed, separated by commas:
    public addresses of your own nodes, API server or ingress.
    """
    delivery_denied_ports: str = _DENIED_PORTS
    """Ports from 1024 on that nothing is carried to, separated by commas; of the lower
    ones only 80 and 443 are.
    """

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
