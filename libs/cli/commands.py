"""All commands by name: what each is for, and where it is.

A command is imported when it is asked for, and not to list it: an image with one
service's packages still has the names of all, and ``bellhop --help`` is quick.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from libs.cli.output import Output


@dataclass(frozen=True, slots=True)
class Leaf:
    """One command: ``module:name`` of it, and what it does in a few words."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Commands about one thing."""

    text: str
    leaves: Mapping[str, Leaf]


def _branch(module: str, text: str, **leaves: str) -> Branch:
    """Return the commands of one module; a name that Python has ends in ``_`` there."""
    return Branch(
        text,
        {
            name.strip("_").replace("_", "-"): Leaf(f"libs.cli.api.{module}:{name}", it)
            for name, it in leaves.items()
        },
    )


TREE: Final[Mapping[str, Leaf | Branch]] = {
    "up": Leaf("libs.cli.up:up", "run everything here until Ctrl-C"),
    "start": Leaf("libs.cli.background:start", "run everything in the background"),
    "stop": Leaf("libs.cli.background:stop", "stop what runs in the background"),
    "status": Leaf("libs.cli.background:status", "say what runs, and where"),
    "clean": Leaf("libs.cli.background:clean", "stop, and forget all data"),
    "demo": Leaf("libs.cli.demo:demo", "show deliveries, retries and a dead letter"),
    "receiver": Leaf("libs.cli.receiver:receiver", "receive webhooks and show them"),
    "serve": Leaf("libs.cli.services:serve", "run one service"),
    "migrate": Leaf("libs.cli.services:migrate", "bring a database to this schema"),
    "backup": Leaf("libs.cli.backup:backup", "write the whole database into a file"),
    "restore": Leaf("libs.cli.backup:restore", "put a backup into an empty database"),
    "reencrypt": Leaf(
        "libs.cli.reencrypt:reencrypt", "seal with the newest key what older ones did"
    ),
    "nats-user": Leaf(
        "libs.cli.nats_users:nats_user", "make a user of NATS for an organization"
    ),
    "doctor": Leaf(
        "libs.cli.doctor.command:doctor", "look at everything, and say what to do"
    ),
    "jobs": _branch(
        "jobs",
        "create, read and follow jobs, try them again, cancel them",
        create="create a job, or many from a file",
        get="show a job with its attempts and its history",
        list_="list jobs, the newest first",
        explain="say why a job is where it is",
        retry="try jobs again",
        cancel="cancel jobs that are not begun",
        tail="show what happens to jobs, as it happens",
    ),
    "dlq": _branch(
        "dead_letters",
        "look at dead letters, try them again, delete them",
        list_="list dead letters, the newest first",
        retry="try dead letters again",
        purge="delete dead letters for good",
    ),
    "queues": _branch(
        "queues",
        "how queues stand, and what they may",
        list_="list queues with what they have to do",
        get="show how a queue is configured, and how it stands",
        configure="configure a queue",
        pause="hand out no more jobs of a queue",
        resume="hand out jobs of a queue again",
        delete="forget a queue's configuration",
    ),
    "endpoints": _branch(
        "endpoints",
        "receivers that are described once",
        list_="list endpoints and how they do",
        get="show an endpoint",
        create="describe a receiver",
        update="change an endpoint",
        test="make one request now",
        attempts="list what was sent to an endpoint",
        rotate_secret="make a new secret",  # noqa: S106 - the name of a command
        replay="send again what failed, or was missed",
        replays="list what is sent again, and how far it came",
        cancel_replay="end a replay",
        delete="forget an endpoint",
    ),
    "schedules": _branch(
        "schedules",
        "jobs that are made again and again",
        list_="list schedules with what comes next",
        get="show a schedule",
        create="make a schedule",
        preview="show when a cron expression would fire",
        trigger="make a job of a schedule now",
        pause="let a schedule fire no more",
        resume="let a schedule fire again",
        history="list what became of each tick",
        delete="forget a schedule",
    ),
    "workflows": _branch(
        "workflows",
        "jobs that wait for jobs",
        list_="list workflows, the newest first",
        get="show a workflow and its jobs",
        create="make a workflow",
        cancel="cancel a workflow",
        retry="try again what failed of a workflow",
    ),
    "keys": _branch(
        "keys",
        "what opens the API",
        list_="list API keys",
        create="make an API key",
        revoke="let a key open nothing more",
    ),
    "orgs": _branch(
        "organizations",
        "what the administrator does with organizations",
        list_="list organizations with what they have",
        get="show an organization",
        create="found an organization",
        update="change an organization",
        delete="close an organization",
    ),
    "events": _branch(
        "events",
        "what happens, as it happens",
        tail="show what happens, until Ctrl-C",
    ),
    "top": Leaf("libs.cli.api.top:top", "how everything does, live"),
    "listen": Leaf(
        "libs.cli.api.listen:listen", "receive webhooks here, without an address"
    ),
    "bench": Leaf("libs.cli.bench:bench", "measure the house, from the source tree"),
    "completion": Leaf("libs.cli.completion:completion", "let a shell complete this"),
}


def _become_json(context: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click hands it over so
    if asked:
        context.ensure_object(Output).as_json = True


class Command(click.Command):
    """A command that also takes ``--json``, as every one does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_json_option())


class Commands(click.Group):
    """Commands that are imported when they are asked for."""

    def __init__(self, name: str, tree: Mapping[str, Leaf | Branch], text: str) -> None:
        super().__init__(name, help=text, params=[_json_option()])
        self._tree: Final = tree

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in our order."""
        return [*self._tree]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        match self._tree.get(cmd_name):
            case None:
                return None
            case Branch(text, leaves):
                return Commands(cmd_name, leaves, f"{text[0].upper()}{text[1:]}.")
            case Leaf(where, _):
                module, _, name = where.partition(":")
                found = getattr(importlib.import_module(module), name)
                assert isinstance(found, click.Command)  # noqa: S101 - a bug of ours
                return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of ``--help``, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, it.text) for name, it in self._tree.items()])

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the name of a command, without an import."""
        names = [
            CompletionItem(name, help=it.text)
            for name, it in self._tree.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def _json_option() -> click.Option:
    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=_become_json,
        help="Print JSON, and nothing else.",
    )


bellhop: Final = Commands(
    "bellhop",
    TREE,
    "Webhooks and background jobs, from accepted to delivered.\n\n"
    "BELLHOP_DATA_DIR, BELLHOP_PORT, BELLHOP_GRPC_PORT (0: any free port), "
    "DATABASE_URL and NATS_URL say where a stack lives and what it uses.\n\n"
    "BELLHOP_URL and BELLHOP_API_KEY say which Bellhop is asked; else it is the stack "
    "of this machine.",
)
