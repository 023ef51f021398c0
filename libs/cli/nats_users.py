"""``bellhop nats-user``: a user of NATS for one organization's programs, and no more.

A user hears the events of its organization, has durable consumers of the event stream
under names of its own, and hands in jobs.  It cannot look at the stream as a whole, nor
at what others have: those requests go to subjects that it may not publish to, and a
consumer is made on a subject that names its filter.
"""

import argparse
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from libs.cli.private_files import write_private
from libs.cli.settings import StackSettings, Unusable
from libs.common.ids import parse_id
from libs.common.messages import EVENTS, JobChanged
from libs.common.subjects import INGEST

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)

User = dict[str, Any]


def nats_user(arguments: argparse.Namespace) -> int:
    """Print a user for the server's configuration; the embedded one remembers it."""
    organization_id = parse_id(arguments.organization)
    if organization_id is None:
        raise Unusable("the organization is named by its id")
    for name in arguments.consumer:
        if not _NAME.fullmatch(name):
            raise Unusable(f"{name!r} is no name: 1-32 letters, digits, - or _")
    user = organization_user(
        str(organization_id), secrets.token_urlsafe(24), arguments.consumer
    )
    print(json.dumps(user, indent=2))
    directory = StackSettings.from_env().data_dir / "nats"
    if directory.is_dir():
        remember(directory, user)
    return 0


def organization_user(
    organization_id: str, password: str, consumers: Iterable[str] = ()
) -> User:
    """Return a user as nats-server is configured (JSON is a dialect of that)."""
    events = f"{JobChanged.subject}.{organization_id}.>"
    api, stream = "$JS.API.CONSUMER", EVENTS.name
    publish = [f"{INGEST}.{organization_id}.>"]
    for name in consumer_names(organization_id, consumers):
        publish += [
            f"{api}.CREATE.{stream}.{name}.{events}",
            f"{api}.INFO.{stream}.{name}",
            f"{api}.DELETE.{stream}.{name}",
            f"{api}.MSG.NEXT.{stream}.{name}",
            f"$JS.ACK.{stream}.{name}.>",
            f"$JS.FC.{stream}.{name}.>",
        ]
    return {
        "user": organization_id,
        "password": password,
        "permissions": {
            "publish": {"allow": publish},
            "subscribe": {"allow": [events, f"{inbox_prefix(organization_id)}.>"]},
        },
    }


def consumer_names(organization_id: str, consumers: Iterable[str] = ()) -> list[str]:
    """Return the names that an organization's consumers may have."""
    return [organization_id, *(f"{organization_id}-{name}" for name in consumers)]


def inbox_prefix(organization_id: str) -> str:
    """Return where an organization's programs get answers: nobody else may listen."""
    return f"_INBOX_{organization_id}"


def remembered(directory: Path) -> Sequence[User]:
    """Return the users that the embedded server is to have beside the services."""
    try:
        found: list[User] = json.loads((directory / "users.json").read_text())
    except FileNotFoundError:
        return []
    return found


def remember(directory: Path, user: User) -> None:
    """Let the embedded server have a user from its next start on."""
    others = [one for one in remembered(directory) if one["user"] != user["user"]]
    write_private(directory / "users.json", json.dumps([*others, user], indent=2))
