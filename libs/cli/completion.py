"""``bellhop completion``: what a shell must know to complete our commands."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from libs.cli import commands
from libs.cli.output import Output

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(cls=commands.Command)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_obj
def completion(out: Output, shell: str) -> None:
    """Print a script that lets SHELL complete commands, options and choices.

    \b
    bash  eval "$(bellhop completion bash)"          in ~/.bashrc
    zsh   eval "$(bellhop completion zsh)"           in ~/.zshrc
    fish  bellhop completion fish | source           in ~/.config/fish/config.fish
    """  # noqa: D301 - click's mark of a paragraph that is not to be wrapped
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - these three are click's own
    script = found(commands.bellhop, {}, "bellhop", "_BELLHOP_COMPLETE").source()
    out.result({"shell": shell, "script": script}, script)
