"""The small rules of the command line: what it tells, keeps, and refuses."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from libs.cli import bootstrap
from libs.cli.embedded.ports import free_port, is_free, remembered_port
from libs.cli.first_run import load_credentials
from libs.cli.ground import Ports
from libs.cli.guide import guide, moved
from libs.cli.lock import AlreadyRuns, holder, take_lock
from libs.cli.log_watch import LogWatch
from libs.cli.reach import check_given
from libs.cli.receiver import Checker
from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import (
    NothingRuns,
    StackFile,
    forget_stack,
    read_stack,
    write_stack,
)
from libs.common.sealing import Sealer
from tests.support.endpoint import Answer
from tests.support.waiting import until

STACK = StackFile(
    pid=1,
    base_url="http://127.0.0.1:8080",
    grpc_address="127.0.0.1:50051",
    api_key="sk_live_it's",
    admin_key="the admin's",
    signing_secret=None,
    nats_url="nats://127.0.0.1:4222",
    database_url="postgresql://127.0.0.1/bellhop",
    services={},
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a stack in a directory of its own, whatever the environment says."""

    def read(**environment):
        for name in list(os.environ):
            if name.startswith("BELLHOP_") or name in {"DATABASE_URL", "NATS_URL"}:
                monkeypatch.delenv(name)
        for name, value in {"BELLHOP_DATA_DIR": tmp_path, **environment}.items():
            monkeypatch.setenv(name, str(value))
        return StackSettings.from_env()

    return read


@pytest.fixture
async def told(tmp_path):
    """A log file that is followed, and what was told of it."""
    log = tmp_path / "delivery.log"
    log.write_text('{"event": "of.yesterday", "level": "error"}\n')
    said: list[str] = []
    following = asyncio.create_task(LogWatch([log], said.append).follow())
    await asyncio.sleep(0)
    yield log, said
    following.cancel()


def add(log, *lines):
    with log.open("a") as file:
        file.writelines(
            line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines
        )


async def test_warnings_and_errors_are_told_and_nothing_else(told):
    log, said = told

    add(
        log,
        {"event": "job.delivered", "level": "info"},
        "no JSON at all\n",
        "[1]\n",
        {"event": "bus.lost", "level": "warning", "cause": "gone", "timestamp": "now"},
        {"event": "bus.lost", "level": "warning", "cause": "still gone"},
        {"event": "actor.failed", "level": "error"},
    )

    await until(lambda: len(said) == 2)
    assert said == [
        "  warning  delivery: bus.lost cause=gone",
        "  error  delivery: actor.failed",
    ]


async def test_a_line_is_told_when_it_is_whole(told):
    log, said = told
    text = json.dumps({"event": "bus.lost", "level": "warning"})

    add(log, text[:10])
    await asyncio.sleep(0.6)
    assert said == []
    add(log, text[10:] + "\n")

    await until(lambda: len(said) == 1)


async def test_a_log_that_was_put_aside_is_followed_from_its_beginning(told):
    log, said = told

    log.write_text('{"event":"anew","level":"error"}\n')

    await until(lambda: said == ["  error  delivery: anew"])


def test_the_keys_are_made_once_and_are_private(tmp_path):
    made = load_credentials(tmp_path)

    assert load_credentials(tmp_path) == made
    assert made.api_key.startswith("sk_live_")
    assert len(made.api_key) == len("sk_live_") + 43
    Sealer(made.secret_key)
    mode = (tmp_path / "credentials.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_the_usual_port_is_left_alone_when_it_is_taken(settings, monkeypatch):
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        monkeypatch.setattr("libs.cli.ground.HTTP_PORT", usual)

        ports = Ports.choose(settings(BELLHOP_GRPC_PORT=0), said.append)

        assert ports.http != usual
        assert [str(usual) in line and "BELLHOP_PORT" in line for line in said] == [
            True
        ]
        with pytest.raises(Unusable, match="BELLHOP_PORT"):
            Ports.choose(settings(BELLHOP_PORT=usual), said.append)


def test_no_port_is_given_twice():
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)


def test_any_free_port_stays_the_same_while_it_is_free(settings):
    asked = settings(BELLHOP_PORT=0, BELLHOP_GRPC_PORT=0)

    first = Ports.choose(asked, print)

    assert Ports.choose(asked, print) == first
    with socket.create_server(("127.0.0.1", first.http)):
        second = Ports.choose(asked, print)
    assert second.http != first.http
    assert second.grpc == first.grpc


def test_a_port_that_somebody_else_is_about_to_use_is_not_kept(tmp_path):
    """Nobody listens there yet, so that it looks free."""
    code = "from libs.cli.embedded.ports import free_port; print(free_port()); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin
        assert other.stdout
        port = int(other.stdout.readline())
        (tmp_path / "port").write_text(f"{port}\n")
        assert is_free(port)

        assert remembered_port(tmp_path / "port") != port

        other.stdin.write("\n")
        other.stdin.flush()
        other.wait()
        assert remembered_port(tmp_path / "port") == port


def test_settings_that_are_wrong_are_named_all_at_once(settings):
    with pytest.raises(Unusable) as refused:
        settings(BELLHOP_PORT="many", BELLHOP_ENVIRONMENT="playground")

    assert "BELLHOP_PORT" in str(refused.value)
    assert "BELLHOP_ENVIRONMENT" in str(refused.value)


def test_the_stack_file_is_private_whole_and_gone_when_forgotten(tmp_path):
    with pytest.raises(NothingRuns):
        read_stack(tmp_path)

    write_stack(tmp_path, STACK)

    assert read_stack(tmp_path) == STACK
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600
    forget_stack(tmp_path)
    forget_stack(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_the_printed_command_survives_a_shell(settings):
    text = guide(STACK, settings())
    command = text[text.index("  curl ") :].split("\n\n", maxsplit=1)[0]

    said = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl", "printf '%s\\n'", 1)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()

    assert said[0] == f"{STACK.base_url}/api/v1/jobs"
    assert f"Authorization: Bearer {STACK.api_key}" in said
    assert json.loads(said[-1])["target"] == {"url": "http://127.0.0.1:9000/"}


def test_the_documentation_is_named(settings):
    assert f"Docs       {STACK.base_url}/docs\n" in guide(STACK, settings())


def test_a_stack_that_moved_says_so_and_one_that_was_told_to_does_not(settings):
    elsewhere = STACK.model_copy(update={"base_url": "http://127.0.0.1:8093"})

    assert moved(STACK, settings()) == []
    (said,) = moved(elsewhere, settings())
    assert said == "  Port 8080 is taken: using 8093. BELLHOP_PORT names another one."
    assert moved(elsewhere, settings(BELLHOP_PORT=8093)) == []


def test_who_has_no_key_is_told_how_to_make_one(settings):
    text = guide(STACK.model_copy(update={"api_key": None}), settings())

    assert f"{STACK.base_url}/api/v1/admin/organizations " in text
    assert '"plan_tier": "enterprise"' in text


def test_in_production_no_target_on_this_machine_is_advised(settings):
    text = guide(STACK, settings(BELLHOP_ENVIRONMENT="production"))

    assert "9000" not in text
    assert "public https" in text


async def test_a_given_server_that_is_silent_is_named(settings):
    port = free_port()

    for variable, scheme in ("NATS_URL", "nats"), ("DATABASE_URL", "postgresql"):
        given = settings(**{variable: f"{scheme}://127.0.0.1:{port}"})
        with pytest.raises(
            Unusable, match=f"{variable}: nothing answers at 127.0.0.1:{port}"
        ):
            await check_given(given)


async def test_a_secret_that_changed_is_read_again_before_a_webhook_is_wrong(
    settings, tmp_path
):
    asked = settings()
    old, new = (f"whsec_{b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    # No database answers there: what stands in the file decides.
    stack = {"database_url": f"postgresql://127.0.0.1:{free_port()}/none"}
    write_stack(tmp_path, STACK.model_copy(update={**stack, "signing_secret": old}))
    checker = Checker(asked)
    write_stack(tmp_path, STACK.model_copy(update={**stack, "signing_secret": new}))
    now, body = datetime.now(UTC), b'{"a":  1}'
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(new).sign("1", now, body.decode()),
    }

    assert await checker.verdict(body, headers) == "verified"
    assert (await checker.verdict(body, headers)).endswith("it was here before")
    assert (await checker.verdict(b"another", headers)).startswith("WRONG")


async def test_the_receiver_checks_what_endpoints_sign_too(settings, tmp_path):
    write_stack(tmp_path, STACK)
    secret, now = f"whsec_{b64encode(bytes(32)).decode()}", datetime.now(UTC)
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("1", now, "{}"),
    }

    assert (await Checker(settings()).verdict(b"{}", headers)).startswith("not checked")
    assert await Checker(settings(), [secret]).verdict(b"{}", headers) == "verified"
    with pytest.raises(Unusable, match="--key: must be base64"):
        Checker(settings(), ["!"])


def test_a_second_make_waits_for_the_environment_and_leaves_it(tmp_path):
    environment, constraints = tmp_path / "venv", tmp_path / "constraints.txt"
    environment.mkdir()
    constraints.touch()
    with bootstrap._alone(environment) as waited:
        assert not waited
        second = subprocess.Popen(
            [sys.executable, bootstrap.__file__, environment, constraints],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        assert "waiting" in second.stdout.readline()
        (environment / ".ready").touch()

    rest, _ = second.communicate(timeout=30)
    assert (second.returncode, rest) == (0, "")
    assert [*environment.iterdir()] == [environment / ".ready"]


def test_a_lock_is_held_by_one_process_until_it_is_gone(tmp_path):
    hold = (
        "import sys; from pathlib import Path; from libs.cli.lock import take_lock\n"
        "take_lock(Path(sys.argv[1]), pid=7); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(bootstrap.__file__).parents[2],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert holder(tmp_path) == 7
        with pytest.raises(AlreadyRuns, match="pid 7"):
            take_lock(tmp_path, pid=8)
        other.kill()
    assert holder(tmp_path) is None


async def test_a_pip_that_is_not_the_one_we_know_is_refused(
    endpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_INDEX_URL", endpoint.url_of("/simple/"))
    page = f'<a href="../../files/{bootstrap.PIP_WHEEL}#sha256=0">pip</a>'.encode()
    endpoint.answers = [Answer(body=page), Answer(body=b"something else")]

    with pytest.raises(SystemExit, match="not the one we know"):
        await asyncio.to_thread(bootstrap._fetch_pip, tmp_path)

    assert [request.path for request in endpoint.requests] == [
        "/simple/pip/",
        f"/files/{bootstrap.PIP_WHEEL}",
    ]
    assert [*tmp_path.iterdir()] == []
    with pytest.raises(SystemExit, match="does not offer"):
        await asyncio.to_thread(bootstrap._fetch_pip, tmp_path)


def test_an_older_python_is_told_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "OLDEST", (3, 99))

    assert bootstrap.main() == 1
    assert "Python 3.11 or newer" in capsys.readouterr().err
