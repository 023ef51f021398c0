"""The `bellhop` command as a whole: names, help, JSON, exit codes, what it imports."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from libs.cli.commands import TREE, Branch, Commands, bellhop
from libs.cli.output import Output, cell

ROOT = Path(__file__).parents[2]


def leaves(tree=TREE, above=()):
    for name, it in tree.items():
        if isinstance(it, Branch):
            yield from leaves(it.leaves, (*above, name))
        else:
            yield (*above, name)


def found(path):
    context = click.Context(bellhop, obj=Output())
    command: click.Command | None = bellhop
    for name in path:
        assert isinstance(command, Commands)
        command = command.get_command(context, name)
    return command


def run(*arguments, **environment):
    """Run the command in a process of its own, with no stack to be found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BELLHOP_")}
    kept |= {"PYTHONPATH": str(ROOT), "BELLHOP_DATA_DIR": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-m", "libs.cli", *arguments],
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("path", [*leaves()], ids=" ".join)
def test_every_command_is_there_says_what_it_is_for_and_takes_json(path):
    command = found(path)

    assert command is not None
    assert command.help
    assert "--json" in {option for p in command.params for option in p.opts}
    names = [p.name for p in command.params]
    assert len(names) == len(set(names))


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from libs.cli.__main__ import main; sys.argv[1:] = ['--help']\n"
        "assert main() == 0\n"
        "print(sorted({'aiohttp', 'asyncpg', 'grpc', 'nats', 'pydantic', 'rich',"
        " 'structlog'} & set(sys.modules)), file=sys.stderr)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stderr == "[]\n"
    for name, it in TREE.items():
        assert f"  {name} " in said.stdout
        assert it.text in " ".join(said.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("serve", "everything"), ("receiver", "--port", "http")],
    ids=" ".join,
)
def test_what_cannot_be_understood_ends_with_2(arguments):
    said = run(*arguments)

    assert (said.returncode, said.stdout) == (2, "")
    assert "Usage: bellhop" in said.stderr


@pytest.mark.parametrize("flag", [(), ("--json",)], ids=["text", "json"])
def test_what_fails_ends_with_1_and_one_line_on_standard_error(flag):
    said = run("migrate", *flag)

    assert (said.returncode, said.stdout) == (1, "")
    text = "DATABASE_URL: give the database to migrate"
    if flag:
        assert json.loads(said.stderr) == {"message": text}
    else:
        assert said.stderr == f"bellhop: {text}\n"


@pytest.mark.parametrize("place", [("--json", "status"), ("status", "--json")])
def test_json_is_asked_for_anywhere_and_stands_alone(place):
    said = run(*place)

    assert said.returncode == 3
    assert json.loads(said.stdout) == {"running": False}
    assert said.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell):
    said = run("completion", shell)

    assert said.returncode == 0
    assert "_BELLHOP_COMPLETE" in said.stdout


def test_names_and_choices_are_completed():
    def completed(line):
        words = line.split(" ")
        said = run(
            _BELLHOP_COMPLETE="bash_complete",
            COMP_WORDS=line,
            COMP_CWORD=str(len(words) - 1),
        )
        return {one.partition(",")[2] for one in said.stdout.splitlines()}

    assert completed("bellhop sta") == {"start", "status"}
    assert completed("bellhop serve d") == {"dispatcher", "delivery"}


def test_a_shell_that_was_told_completes(tmp_path):
    program = tmp_path / "bellhop"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m libs.cli "$@"\n')
    program.chmod(0o755)
    script = f"""
        PATH={shlex.quote(str(tmp_path))}:$PATH
        eval "$(bellhop completion bash)"
        complete -p bellhop
        COMP_WORDS=(bellhop queues p) COMP_CWORD=2
        _bellhop_completion bellhop
        echo "${{COMPREPLY[@]}}"
    """
    said = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    registered, *completed = said.stdout.splitlines()
    assert registered.startswith("complete ")
    assert "pause" in " ".join(completed).split()
    assert said.stderr == ""


def test_whoever_stops_reading_sees_no_traceback():
    command = f"{sys.executable} -m libs.cli completion bash | true"
    said = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "Traceback" not in said.stderr


def test_what_would_steer_a_terminal_is_not_printed():
    assert cell("a\x1b[2Jb\nc") == "a [2Jb c"
    assert cell({"a": None}) == '{"a": null}'
    assert [cell(value) for value in (None, True, 1.5)] == ["", "yes", "1.5"]
