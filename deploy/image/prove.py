# ruff: noqa: INP001, T201, S603, S607 - a script that talks, and runs programs
"""Build the six images where no Docker engine is, and run them as a cluster would.

``make images-proof``, as root on Debian with ``buildah`` and ``debootstrap``.  The
recipe is the Dockerfile as it stands; only its base is another, made here: a Debian
with its own Python.  Each service then runs from its image's files, read-only, as the
image's user and with the image's environment, against a PostgreSQL and a NATS; it must
become ready, pass its health check, say which release it is and, told to stop, end
with 0.  The tools must find nothing wrong with that house, and make a backup of it.
"""

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from libs.cli.embedded.nats import run_nats
from libs.cli.embedded.ports import free_port
from libs.cli.embedded.postgres import run_postgres
from libs.common.version import VERSION

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
TOOLS: Final = "tools"
BASE: Final = "localhost/bellhop-base"
DEBIAN: Final = ("bookworm", "http://deb.debian.org/debian")
PROGRAMS: Final = ("buildah", "debootstrap", "chroot", "unshare")
#: How pip is told of another index, and whom to trust, on a machine that has its own.
TRUST: Final = ("/etc/pip.conf", "/etc/ssl/certs")
#: How npm is told; of itself it trusts those that Node.js came with.
NPMRC: Final = Path.home() / ".npmrc"
HOME_OF_ROOT: Final = Path("~root").expanduser()
NPM_TRUSTS: Final = "cafile=/etc/ssl/certs/ca-certificates.crt\n"
READY_SECONDS: Final = 60
STOP_SECONDS: Final = 40


class Engine:
    """Buildah, with a storage of its own that goes with *directory*."""

    def __init__(self, directory: Path) -> None:
        self._npmrc = directory / "npmrc"
        said = NPMRC.read_text() if NPMRC.exists() else ""
        self._npmrc.write_text(f"{said}\n{NPM_TRUSTS}")
        storage = ("--root", directory / "storage", "--runroot", directory / "run")
        self._buildah = ("buildah", *storage, "--storage-driver", "vfs")

    def __call__(self, *arguments: str | Path) -> str:
        """Run one command; return what it prints.  A failure ends the proof."""
        command = [str(part) for part in (*self._buildah, *arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout.strip()

    def make_base(self, directory: Path) -> None:
        """Make the image that stands for the official one of Python."""
        tree = directory / "debian"
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run(
            ["debootstrap", "--variant=minbase", packages, DEBIAN[0], tree, DEBIAN[1]],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (tree / "usr/bin/python").symlink_to("python3")
        container = self("from", "scratch")
        self("add", "--quiet", container, tree, "/")
        self("config", "--env", f"PATH={os.defpath}:/usr/sbin:/sbin", container)
        self("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(tree)

    def build(self, service: str) -> Path:
        """Build an image by the Dockerfile; return where its files can be seen."""
        trust = [f"--volume={path}:{path}:ro" for path in TRUST if Path(path).exists()]
        self(
            "build",
            "--quiet",
            # That of OCI knows no health check.
            "--format=docker",
            "--isolation=chroot",
            "--network=host",
            *trust,
            f"--volume={self._npmrc}:{HOME_OF_ROOT}/.npmrc:ro",
            "--build-arg",
            f"PYTHON_IMAGE={BASE}",
            "--build-arg",
            f"SERVICE={service}",
            *(["--target", TOOLS] if service == TOOLS else []),
            "--tag",
            f"localhost/bellhop/{service}",
            ROOT,
        )
        container = self("from", "--pull-never", f"localhost/bellhop/{service}")
        return Path(self("mount", container))

    def config(self, service: str) -> dict[str, Any]:
        """Return what the image says of user, environment and command."""
        image = json.loads(
            self("inspect", "--type", "image", f"localhost/bellhop/{service}")
        )
        found: dict[str, Any] = image["Docker"]["config"]
        return found


class Image:
    """One service's image: its files, and how a container of it is run."""

    def __init__(self, service: str, tree: Path, config: dict[str, Any]) -> None:
        self.service = service
        self.tree = tree
        self._config = config

    @property
    def entry(self) -> list[str]:
        """The program that what is asked for is handed to."""
        return self._config["Entrypoint"] or []

    def check(self) -> None:
        """Fail unless it holds one service, runs as nobody, and says what is in it."""
        mains = self.tree.glob("app/services/*/__main__.py")
        held = {path.parent.name for path in mains}
        expect(held == {self.service} & set(SERVICES), f"holds {held}")
        expect(self._config["User"] == "10001:10001", "does not run as 10001:10001")
        parts = json.loads((self.tree / "app/sbom.json").read_text())["components"]
        names = {part["name"] for part in parts}
        expect("aiohttp" in names, "its bill of materials has no aiohttp")
        expect(
            ("asyncpg" in names) == (self.service != "delivery"),
            "asyncpg is for all but delivery",
        )
        pages = self.tree / "app/services/streamer/pages/index.html"
        expect(
            pages.exists() == (self.service == "streamer"),
            "the dashboard is the streamer's, built",
        )

    def command(self, program: list[str]) -> list[str]:
        """Return *program* as it runs inside: read-only, as the image's user.

        The tools, as in docker-compose.yml, have a ``/tmp``.
        """
        room = 'mount -t tmpfs tmpfs "$tree/tmp"' if self.service == TOOLS else ""
        script = f"""set -e; tree=$1 user=$2; shift 2
            mount --bind "$tree" "$tree"
            mount -t proc proc "$tree/proc"
            mount --rbind /dev "$tree/dev"
            mount -o remount,bind,ro "$tree"
            {room}
            exec chroot --userspec="$user" "$tree" "$@" """
        user = self._config["User"]
        shell = ["bash", "-c", script, "bash", str(self.tree), user]
        return ["unshare", "--mount", *shell, *program]

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the service."""
        return self.run(self._config["Cmd"], environment)

    def run(
        self,
        program: list[str],
        environment: dict[str, str],
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start *program* with the image's environment and what is given on top."""
        own = dict(pair.split("=", 1) for pair in self._config["Env"])
        moved = ["env", "--chdir=/app", *program]
        given = {**own, **environment}
        return subprocess.Popen(self.command(moved), env=given, stdout=stdout)

    def healthy(self, environment: dict[str, str]) -> bool:
        """Ask as the image's own health check does."""
        [_, *program] = self._config["Healthcheck"]["Test"]
        return self.run(program, environment).wait() == 0


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    """End the proof with *otherwise* unless it *holds*."""
    if not holds:
        raise SystemExit(f"images-proof: {otherwise}")


async def answered(port: int, path: str) -> str:
    """Return what a process says on *port*, nothing unless that is 200."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return ""
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    said = (await reader.read()).decode()
    writer.close()
    return said if " 200 " in said.partition("\r\n")[0] else ""


async def prove_running(images: list[Image], tools: Image, directory: Path) -> None:
    """Run all five beside one another until each is ready, then stop them."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    async with (
        run_postgres(directory / "postgres") as postgres,
        run_nats(directory / "nats") as nats,
    ):
        shared = {
            "DATABASE_URL": postgres.url,
            "NATS_URL": nats.url,
            "BELLHOP_SECRET_KEY": key,
            "BELLHOP_HTTP_PORT": "0",
            "BELLHOP_GRPC_PORT": "0",
            "BELLHOP_HEALTH_HOST": "127.0.0.1",
        }
        migrate = images[0].run(["python", "-m", "libs.cli", "migrate"], shared)
        expect(await asyncio.to_thread(migrate.wait) == 0, "migrate failed")
        running = []
        try:
            for image in images:
                given = {**shared, "BELLHOP_HEALTH_PORT": str(free_port())}
                running.append((image, given, image.start(**given)))
            for image, given, process in running:
                await prove_ready(image, given, process)
            await asyncio.to_thread(prove_tools, tools, shared)
        finally:
            for _, _, process in running:
                process.terminate()
            codes = [
                await asyncio.to_thread(process.wait, STOP_SECONDS)
                for _, _, process in running
            ]
        expect(codes == [0] * len(images), f"ended with {codes}")


async def prove_ready(
    image: Image, given: dict[str, str], process: subprocess.Popen[bytes]
) -> None:
    """Wait until one service is ready, and let its image's health check agree."""
    async with asyncio.timeout(READY_SECONDS):
        port = int(given["BELLHOP_HEALTH_PORT"])
        while not await answered(port, "/health/ready"):
            expect(process.poll() is None, f"{image.service} ended")
            await asyncio.sleep(0.1)
    figures = await answered(port, "/metrics")
    release = f'bellhop_build_info{{version="{VERSION}"}} 1.0'
    expect(release in figures, f"{image.service} does not say that it is {VERSION}")
    healthy = await asyncio.to_thread(image.healthy, given)
    expect(healthy, f"{image.service} fails its health check")
    print(f"{image.service}: ready and healthy, read-only, as 10001", flush=True)


def prove_tools(tools: Image, environment: dict[str, str]) -> None:
    """Let the tools examine the house that runs, and back it up."""
    for words in ("backup --help", "jobs list --help", "backup /tmp/x.dump"):
        ended = tools.run([*tools.entry, *words.split()], environment).wait()
        expect(ended == 0, f"`bellhop {words}` ended with {ended}")
    doctor = [*tools.entry, "doctor", "--json"]
    said, _ = tools.run(doctor, environment, subprocess.PIPE).communicate()
    checks = json.loads(said)["checks"]
    wrong = {one["check"] for one in checks if one["state"] == "fail"}
    # That stream is made with the first event, and nothing has happened here.
    expect(wrong <= {"BELLHOP_EVENTS"}, f"`bellhop doctor` finds wrong: {wrong}")
    print(f"{TOOLS}: the house is well, and backed up", flush=True)


def main() -> int:
    """Build, look, run; return the exit code."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    expect(not missing, f"needs {', '.join(missing)}")
    expect(os.geteuid() == 0, "needs root")
    with tempfile.TemporaryDirectory(prefix="bellhop-images-") as temporary:
        directory = Path(temporary)
        engine = Engine(directory)
        try:
            engine.make_base(directory)
            images = []
            for service in (*SERVICES, TOOLS):
                tree = engine.build(service)
                image = Image(service, tree, engine.config(service))
                image.check()
                images.append(image)
                print(f"{service}: built", flush=True)
            asyncio.run(prove_running(images[:-1], images[-1], directory))
        finally:
            engine("umount", "--all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
