"""``stack.json``: where a running stack is, for programs that want to talk to it.

It is there while the stack is ready, and only its owner may read it.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from libs.cli.private_files import write_private
from libs.common.errors import BellhopError


class NothingRuns(BellhopError):  # noqa: N818 - what is wrong, no "Error" at the end
    """There is no running stack in the data directory."""


class ServiceAddress(BaseModel):
    """One service: where it says whether it is ready, and its process."""

    model_config = ConfigDict(frozen=True)

    health_url: str
    pid: int


class StackFile(BaseModel):
    """Everything about a running stack."""

    model_config = ConfigDict(frozen=True)

    #: The supervisor's.
    pid: int
    base_url: str
    grpc_address: str
    #: A key of the first organization; null when another's database has been given.
    api_key: str | None
    admin_key: str
    #: Signs the first organization's webhooks (``whsec_…``); null as above.
    signing_secret: str | None
    nats_url: str
    database_url: str
    services: dict[str, ServiceAddress]


def write_stack(data_dir: Path, stack: StackFile) -> None:
    """Say where the stack is."""
    write_private(data_dir / "stack.json", f"{stack.model_dump_json(indent=2)}\n")


def read_stack(data_dir: Path) -> StackFile:
    """Return where the stack is; raises `NothingRuns`."""
    try:
        text = (data_dir / "stack.json").read_text()
    except FileNotFoundError:
        raise NothingRuns(
            f"no stack runs in {data_dir}; `make up` or `make start` starts one"
        ) from None
    return StackFile.model_validate_json(text)


def forget_stack(data_dir: Path) -> None:
    """Say that there is no stack any more."""
    (data_dir / "stack.json").unlink(missing_ok=True)
