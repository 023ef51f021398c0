"""Make the environment, with nothing but Python's standard library.

``python3 libs/cli/bootstrap.py ENVIRONMENT CONSTRAINTS`` works where Debian left out
``ensurepip``, pip and even the certificates.  Then pip itself is fetched, and whether
it and all it installs is what we mean is decided by the SHA-256 of every file, pinned
here and in the constraints.

It must be readable for an older Python too, to say that it is too old.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

OLDEST = (3, 11)

PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
#: Where packages come from when ``PIP_INDEX_URL`` says nothing; pip's own default.
DEFAULT_INDEX = "https://pypi.org/simple"
FETCH_SECONDS = 60


def main() -> int:
    """Make the environment and install into it; return the exit code."""
    if sys.version_info[:2] < OLDEST:
        print(
            "Bellhop needs Python 3.11 or newer; {} is {}.{}. If there is a newer one, "
            "name it: make PYTHON=python3.12 …".format(
                sys.executable, *sys.version_info[:2]
            ),
            file=sys.stderr,
        )
        return 1
    environment, constraints = Path(sys.argv[1]), Path(sys.argv[2])
    ready = environment / ".ready"
    with _alone(environment) as waited:
        if waited and _is_newer(ready, than=[constraints, Path(__file__)]):
            return 0
        code = _make(environment, constraints)
        if code == 0:
            ready.touch()
        return code


@contextmanager
def _alone(environment: Path) -> Iterator[bool]:
    """Let one make at a time into the block; give whether there was another one."""
    with environment.with_name(f"{environment.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except BlockingIOError:
            print("Another make is making the environment; waiting …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        yield waited


def _is_newer(made: Path, *, than: list[Path]) -> bool:
    """Whether *made* is there, and nothing it is made of changed since, as in make."""
    if not made.exists():
        return False
    return made.stat().st_mtime_ns >= max(part.stat().st_mtime_ns for part in than)


def _make(environment: Path, constraints: Path) -> int:
    """Make the environment where it is missing, install; return pip's exit code."""
    print(
        f"Making the environment in {environment} (once; about a minute).", flush=True
    )
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not _is_usable(environment, with_pip=with_pip):
        builder = venv.EnvBuilder(with_pip=with_pip, symlinks=True, clear=True)
        builder.create(environment)
    python = environment / "bin" / "python"
    with tempfile.TemporaryDirectory() as scratch:
        if with_pip:
            pip = [str(python), "-m", "pip"]
        elif importlib.util.find_spec("pip") is not None:
            pip = [sys.executable, "-m", "pip", "--python", str(python)]
        else:
            wheel, options = _fetch_pip(Path(scratch))
            pip = [str(python), f"{wheel}/pip", *options]
        return subprocess.run([*pip, *_install(constraints)], check=False).returncode


def _install(constraints: Path) -> list[str]:
    return [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--root-user-action=ignore",
        # Nothing is built: what a build would need is not pinned.
        "--only-binary=:all:",
        "--require-hashes",
        f"--requirement={constraints}",
    ]


def _is_usable(environment: Path, *, with_pip: bool) -> bool:
    """Whether the environment is there, of this Python, and has pip if it should."""
    try:
        asked = subprocess.run(
            [
                environment / "bin" / "python",
                "-c",
                "import sys" + (", pip" if with_pip else "") + "; print(sys.version)",
            ],
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError:
        return False
    return asked.stdout.strip() == sys.version


def _fetch_pip(directory: Path) -> tuple[Path, list[str]]:
    """Fetch pip's wheel; return it with what to tell pip about the servers.

    A bare machine may know no certificates.  Then a server is believed without one:
    whatever it sends is compared with a pinned SHA-256, here and by pip.
    """
    index = os.environ.get("PIP_INDEX_URL", DEFAULT_INDEX).rstrip("/")
    page_url = f"{index}/pip/"
    try:
        trust = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
        page = _fetch(page_url, trust)
        verified = True
    except (ssl.SSLError, urllib.error.URLError, FileNotFoundError):
        trust = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
        page = _fetch(page_url, trust)
        verified = False
    link = re.search(f'href="([^"]*/{re.escape(PIP_WHEEL)}[^"]*)"', page.decode())
    if link is None:
        raise SystemExit(f"{page_url} does not offer {PIP_WHEEL}")
    wheel_url = urljoin(page_url, link[1])
    content = _fetch(wheel_url, trust)
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise SystemExit(f"{PIP_WHEEL} from {index} is not the one we know")
    wheel = directory / PIP_WHEEL
    wheel.write_bytes(content)
    hosts = {urlsplit(url).netloc for url in (page_url, wheel_url)}
    options = [] if verified else [f"--trusted-host={host}" for host in sorted(hosts)]
    return wheel, options


def _fetch(url: str, trust: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(  # noqa: S310 - the scheme is the index's
        url, timeout=FETCH_SECONDS, context=trust
    ) as answer:
        content: bytes = answer.read()
        return content


if __name__ == "__main__":
    sys.exit(main())
