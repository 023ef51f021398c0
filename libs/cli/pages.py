"""Build the dashboard's pages, with nothing but Python's standard library.

``python libs/cli/pages.py ENVIRONMENT [--if-possible]`` runs the front end's own tool
chain (npm, from its lock file) and leaves ``services/streamer/pages``.  Where there is
no Node that is new enough, one is installed from its wheel into ENVIRONMENT, checked by
the hash pinned beside the front end.  What was built from the same sources is not built
again.  With ``--if-possible`` a failure is said and forgiven: the rest of Bellhop does
not need the pages.

With ``--check`` the sources are checked for style and types, and nothing is built.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "services" / "streamer" / "dashboard"
BUILT = ROOT / "services" / "streamer" / "pages"
BOOTSTRAP = ROOT / "libs" / "cli" / "bootstrap.py"
#: What the tool chain asks of Node, by major version: at least this minor one.
NODE_MINOR_MIN = {20: 19, 22: 12}
NODE_MAJOR_NEWEST_KNOWN = 24
FETCH_SECONDS = 60


class NotBuiltError(Exception):
    """The pages could not be built; the text says why."""


def main() -> int:
    """Build what is not built yet; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("--if-possible", action="store_true")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    asked.environment.mkdir(parents=True, exist_ok=True)
    with (asked.environment / "pages.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = state_of(SOURCES)
        if not asked.check and is_built(state):
            return 0
        try:
            chain = tool_chain(asked.environment.resolve())
            if not asked.check:
                build(chain, state)
        except NotBuiltError as error:
            print(f"The dashboard was not built: {error}", file=sys.stderr)
            if not asked.if_possible:
                return 1
            print(
                "All else works without it; `make dashboard` tries again.",
                file=sys.stderr,
            )
            return 0
        if asked.check:
            return check(chain)
    return 0


def state_of(sources: Path) -> str:
    """Return a digest of what the pages are made of."""
    digest = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        part = path.relative_to(sources)
        if part.parts[0] == "node_modules" or not path.is_file():
            continue
        digest.update(f"{part.as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_built(state: str) -> bool:
    """Whether what stands there was made of the same."""
    note = BUILT / ".state"
    return note.is_file() and note.read_text("utf-8") == state


@dataclass(frozen=True)
class Chain:
    """The tool chain: how npm is called, and in which surroundings."""

    npm: list[str]
    surroundings: dict[str, str]

    def run(self, *words: str) -> None:
        """Run a step; raises `NotBuiltError` with what it said last."""
        step = subprocess.run(
            [*self.npm, *words],
            cwd=SOURCES,
            env=self.surroundings,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if step.returncode:
            said = "\n".join(step.stdout.strip().splitlines()[-20:])
            raise NotBuiltError(f"`npm {words[0]}` failed\n{said}")


def tool_chain(environment: Path) -> Chain:
    """Return the tool chain, installed as it is locked; raises `NotBuiltError`."""
    chain = find_npm(environment)
    installed = SOURCES / "node_modules" / ".package-lock.json"
    lock = SOURCES / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        print("Installing what the dashboard is built with (once).", flush=True)
        chain.run("ci", "--no-progress", "--loglevel=error")
    return chain


def build(chain: Chain, state: str) -> None:
    """Build; raises `NotBuiltError`."""
    print("Building the dashboard.", flush=True)
    chain.run("run", "--silent", "build")
    (BUILT / ".state").write_text(state, "utf-8")


def check(chain: Chain) -> int:
    """Check style and types; return the exit code."""
    try:
        chain.run("run", "--silent", "check")
    except NotBuiltError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def find_npm(environment: Path) -> Chain:
    """Return the tool chain, not installed yet; raises `NotBuiltError`."""
    surroundings = {
        **os.environ,
        # Who cannot be reached is not waited for long.
        "npm_config_fetch_retries": "1",
        "npm_config_fetch_timeout": str(FETCH_SECONDS * 1000),
    }
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and is_new_enough(node):
        return Chain([npm], surroundings)
    own = environment / "node"
    pins = SOURCES / "node.txt"
    ready = own / ".ready"
    if not ready.exists() or ready.stat().st_mtime < pins.stat().st_mtime:
        made = subprocess.run([sys.executable, BOOTSTRAP, own, pins], check=False)
        if made.returncode:
            raise NotBuiltError("there is no Node here, and its wheel did not install")
    binaries = own / "bin"
    path = f"{binaries}{os.pathsep}{surroundings.get('PATH', '')}"
    return Chain([str(binaries / "npm")], {**surroundings, "PATH": path})


def is_new_enough(node: str) -> bool:
    """Whether the tool chain runs on this Node."""
    asked = subprocess.run(
        [node, "--version"], check=False, capture_output=True, text=True
    )
    found = re.match(r"v(\d+)\.(\d+)", asked.stdout)
    if asked.returncode or found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    if major in NODE_MINOR_MIN:
        return minor >= NODE_MINOR_MIN[major]
    return major >= NODE_MAJOR_NEWEST_KNOWN


if __name__ == "__main__":
    sys.exit(main())
