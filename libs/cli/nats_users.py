"""``bellhop nats-user``: an account of NATS for one organization's programs.

What is said in an account stays in it, replies and all, but for what it imports from
the services' account: the events of its organization; requests that hand in jobs and
ask for consumers; and, of the consumers it was given, to pull, to acknowledge, and to
look.  So nothing that a program says can arrive at another subject of the services, or
at another organization: not even the answer to a request, whatever reply it names.
"""

import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click

from libs.cli.commands import Command
from libs.cli.output import Output
from libs.cli.private_files import write_private
from libs.cli.settings import StackSettings, Unusable
from libs.common.ids import parse_id
from libs.common.messages import EVENTS, JobChanged
from libs.common.subjects import CONSUMERS, INGEST, consumer_subject

_FILE: Final = "accounts.json"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)

Account = dict[str, Any]

#: The services' account, and what JetStream's API is called in the others.
SERVICES: Final = "BELLHOP"
USER: Final = "bellhop"
DOMAIN: Final = "bellhop"

_API: Final = "$JS.API.CONSUMER"
#: What the services' account lets others import.
EXPORTS: Final[list[Account]] = [
    {"stream": f"{JobChanged.subject}.>"},
    {"service": f"{INGEST}.>"},
    {"service": f"{CONSUMERS}.>"},
    {"service": f"{_API}.MSG.NEXT.{EVENTS.name}.*", "response": "stream"},
    {"service": f"{_API}.INFO.{EVENTS.name}.*"},
    {"service": f"$JS.ACK.{EVENTS.name}.>"},
]


@click.command(cls=Command)
@click.argument("organization")
@click.option(
    "--consumer",
    "consumers",
    multiple=True,
    help="Another durable consumer that it may have; may be repeated.",
)
@click.pass_obj
def nats_user(out: Output, organization: str, consumers: tuple[str, ...]) -> None:
    """Make an account of NATS for the programs of one ORGANIZATION (its id).

    Prints it as nats-server is configured; the embedded server remembers it.
    """
    organization_id = parse_id(organization)
    if organization_id is None:
        raise Unusable("the organization is named by its id")
    for name in consumers:
        if not _NAME.fullmatch(name):
            raise Unusable(f"{name!r} is no name: 1-32 letters, digits, - or _")
    account = organization_account(
        str(organization_id), secrets.token_urlsafe(24), consumers
    )
    name = str(organization_id)
    text = f"{json.dumps(name)}: {json.dumps(account, indent=2)}"
    out.result({name: account}, text)
    directory = StackSettings.from_env().data_dir / "nats"
    if directory.is_dir():
        remember(directory, name, account)


def services_account(password: str) -> Account:
    """Return the account of the services as nats-server is configured."""
    return {
        "jetstream": "enabled",
        "users": [{"user": USER, "password": password}],
        "exports": EXPORTS,
    }


def organization_account(
    organization_id: str, password: str, consumers: Iterable[str] = ()
) -> Account:
    """Return an account as nats-server is configured (JSON is a dialect of that)."""
    names = consumer_names(organization_id, consumers)
    return {
        "users": [{"user": organization_id, "password": password}],
        "imports": [
            {
                "stream": {
                    "account": SERVICES,
                    "subject": f"{JobChanged.subject}.{organization_id}.>",
                }
            },
            _service(f"{INGEST}.{organization_id}.>"),
            *(one for name in names for one in _of_consumer(organization_id, name)),
        ],
    }


def _of_consumer(organization_id: str, name: str) -> list[Account]:
    """Return what an account needs to have a consumer."""
    return [
        _service(consumer_subject(organization_id, name)),
        _service(f"{_API}.MSG.NEXT.{EVENTS.name}.{name}"),
        _service(f"{_API}.INFO.{EVENTS.name}.{name}"),
        _service(f"$JS.ACK.{EVENTS.name}.{name}.>"),
    ]


def _service(subject: str) -> Account:
    """Return the import of a service.

    JetStream's API has another name: its own an account's server answers itself.
    """
    imported: Account = {"service": {"account": SERVICES, "subject": subject}}
    if subject.startswith("$JS.API."):
        imported["to"] = subject.replace("$JS.API.", f"$JS.{DOMAIN}.API.", 1)
    return imported


def consumer_names(organization_id: str, consumers: Iterable[str] = ()) -> list[str]:
    """Return the names that an organization's consumers may have."""
    return [organization_id, *(f"{organization_id}-{name}" for name in consumers)]


def remembered(directory: Path) -> dict[str, Account]:
    """Return the accounts that organizations have at the embedded server, by name."""
    try:
        found: dict[str, Account] = json.loads((directory / _FILE).read_text())
    except FileNotFoundError:
        return {}
    return found


def remember(directory: Path, name: str, account: Account) -> None:
    """Let the embedded server have an account from its next start on."""
    accounts = {**remembered(directory), name: account}
    write_private(directory / _FILE, json.dumps(accounts, indent=2))
