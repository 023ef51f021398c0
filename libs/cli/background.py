"""``bellhop start``, ``stop``, ``status`` and ``clean``: a stack in the background."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import click

from libs.cli.commands import Command
from libs.cli.guide import guide, moved
from libs.cli.lock import holder
from libs.cli.options import replicas_option
from libs.cli.output import Output
from libs.cli.service_process import tree_environment
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import NothingRuns, StackFile, read_stack

#: The first start makes the database; recovery after a crash may take its time.
_START_SECONDS: Final = 180.0
#: On top of what the services may take to drain.
_STOP_SECONDS: Final = 90.0
_LOOK_SECONDS: Final = 0.05
_HEALTH_SECONDS: Final = 2.0
#: As for the status of an LSB service: it is not running.
_NOT_RUNNING: Final = 3

#: Everything a stack keeps under its data directory.
_KEPT: Final = (
    "postgres",
    "nats",
    "logs",
    "stack.log",
    "stack.json",
    "credentials.json",
    "http-port",
    "grpc-port",
    "lock",
)


@click.command(cls=Command)
@replicas_option
@click.pass_obj
def start(out: Output, replicas: int | None) -> int:
    """Start a stack in the background; return when it is ready, or say why not."""
    settings = StackSettings.from_env()
    data_dir = settings.data_dir
    if (pid := holder(data_dir)) is not None:
        text = f"A stack already runs in {data_dir} (pid {pid})."
        out.result({"started": False, "pid": pid}, text)
        return 0
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    given = [] if replicas is None else [f"--replicas={replicas}"]
    with (data_dir / "stack.log").open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "libs.cli", "up", *given],
            env=tree_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while supervisor.poll() is None:
        stack = _read(data_dir)
        if stack is not None and stack.pid == supervisor.pid:
            out.result({"started": True, **stack.model_dump()}, _told(stack, settings))
            # It lives on; that is what it is for.
            supervisor.returncode = 0
            return 0
        if time.monotonic() > deadline:
            supervisor.terminate()
            supervisor.wait()
            out.say(f"Bellhop was not ready after {_START_SECONDS:.0f} s:")
            break
        time.sleep(_LOOK_SECONDS)
    print((data_dir / "stack.log").read_text().strip(), file=sys.stderr)
    return 1


@click.command(cls=Command)
@click.pass_obj
def stop(out: Output) -> int:
    """Stop the stack; return when it is gone."""
    settings = StackSettings.from_env()
    pid = holder(settings.data_dir)
    if pid is None:
        out.result({"stopped": False}, f"No stack runs in {settings.data_dir}.")
        return 0
    if not _stop(settings, pid):
        return 1
    out.result({"stopped": True, "pid": pid}, "Bellhop has stopped.")
    return 0


@click.command(cls=Command)
@click.pass_obj
def status(out: Output) -> int:
    """Say what runs; end with 0 when all of it is ready, 3 when nothing runs."""
    data_dir = StackSettings.from_env().data_dir
    pid = holder(data_dir)
    if pid is None:
        out.result({"running": False}, f"No stack runs in {data_dir}.")
        return _NOT_RUNNING
    stack = _read(data_dir)
    if stack is None:
        text = f"A stack starts or stops in {data_dir} (pid {pid})."
        out.result({"running": True, "pid": pid, "services": {}}, text)
        return 1
    ready = {name: _is_ready(one.health_url) for name, one in stack.services.items()}
    data = {
        "running": True,
        "pid": pid,
        "base_url": stack.base_url,
        "grpc_address": stack.grpc_address,
        "services": {
            name: {"ready": ready[name], "pid": service.pid}
            for name, service in stack.services.items()
        },
    }
    lines = [
        f"A stack runs in {data_dir} (pid {pid}): {stack.base_url}",
        f"  gRPC         {stack.grpc_address}",
        *(
            f"  {name:<12} {'ready' if ready[name] else 'not ready'} (pid {one.pid})"
            for name, one in stack.services.items()
        ),
    ]
    out.result(data, "\n".join(lines))
    return 0 if all(ready.values()) else 1


@click.command(cls=Command)
@click.pass_obj
def clean(out: Output) -> int:
    """Stop the stack and forget everything it kept."""
    settings = StackSettings.from_env()
    data_dir = settings.data_dir
    pid = holder(data_dir)
    if pid is not None:
        if not _stop(settings, pid):
            return 1
        out.say("Bellhop has stopped.")
    try:
        for name in _KEPT:
            path = data_dir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if data_dir.is_dir() and not any(data_dir.iterdir()):
            data_dir.rmdir()
    except OSError as error:
        raise Unusable(f"{data_dir} cannot be removed: {error}") from error
    out.result({"forgot": str(data_dir)}, f"Forgot everything in {data_dir}.")
    return 0


def _told(stack: StackFile, settings: StackSettings) -> str:
    lines = [
        f"Bellhop runs in the background (pid {stack.pid}).\n",
        *moved(stack, settings),
        guide(stack, settings),
        "\n`make stop` stops it.",
    ]
    return "\n".join(lines)


def _stop(settings: StackSettings, pid: int) -> bool:
    """Stop the stack; return whether it is gone in time."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + settings.drain_seconds + _STOP_SECONDS
    while holder(settings.data_dir) == pid:
        if time.monotonic() > deadline:
            print(f"It still stops (pid {pid}).", file=sys.stderr)
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _read(data_dir: Path) -> StackFile | None:
    try:
        return read_stack(data_dir)
    except NothingRuns:
        return None


def _is_ready(health_url: str) -> bool:
    try:
        with urllib.request.urlopen(health_url, timeout=_HEALTH_SECONDS):  # noqa: S310
            return True
    except (urllib.error.URLError, TimeoutError):
        return False
