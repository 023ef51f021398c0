"""The `bellhop` command for tests: against a stack of the test's own."""

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from libs.cli.service_process import tree_environment


@dataclass(frozen=True)
class Shell:
    """A directory, and an environment in which ``bellhop`` is to be found."""

    directory: Path
    environment: dict[str, str]

    def run(self, script: str, *, timeout_seconds: float = 240, **environment: str):
        """Run a script to its end, as a person would who stops at the first error."""
        return subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )


def shell_beside(data_dir: Path, directory: Path) -> Shell:
    """Return a shell in *directory* whose ``bellhop`` knows the stack in *data_dir*."""
    bin_dir = directory / "bin"
    bin_dir.mkdir(parents=True)
    command = bin_dir / "bellhop"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m libs.cli "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    kept = {k: v for k, v in tree_environment().items() if "BELLHOP_" not in k}
    path = os.pathsep.join([str(bin_dir), os.environ["PATH"]])
    return Shell(directory, {**kept, "PATH": path, "BELLHOP_DATA_DIR": str(data_dir)})
