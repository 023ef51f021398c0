"""Every command that the documents name works on a stack, as it stands there.

Two things are put in its place: receivers of the test for those of the examples, and
`curl`s that would never end end.  What needs a cluster, Docker or another program that
is not the house's is not run: what it names must be there.
"""

import asyncio
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from libs.cli.embedded.postgres_programs import PostgresPrograms
from tests.support.commands import shell_beside
from tests.support.databases import url_of
from tests.support.stacks import OwnStack, background_stack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
    # Its examples are played by tests/service/test_incoming_documents.py.
    if path.name != "incoming-webhooks.md"
)
#: What cannot be run here.
ELSEWHERE = (
    *("docker", "helm", "kubectl", "make", "nats", "timedatectl", "cp"),
    "curl -s http://nats:",
    "mkdir -p backups && sudo",
    # It needs a terminal: tests/system/test_commands.py gives it one.
    "bellhop top",
)
RECEIVERS = ("https://example.com/webhooks", "https://example.com/bellhop")
#: Fails where the answer is an error, and leaves a stream once something came.
CURL = f"""
case " $* " in
    *" -N "*) {shutil.which("curl")} -sS --fail "$@" | grep -m 1 . ;;
    *) exec {shutil.which("curl")} -sS --fail-with-body "$@" ;;
esac
"""

#: Comes with the embedded server.
PSQL = PostgresPrograms().command("psql")[-1]

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]


@dataclass(frozen=True)
class Session:
    """What stands in one box of a page."""

    page: str
    text: str
    #: What the page defined by then.
    functions: str

    @property
    def here(self) -> str:
        """What can be run here."""
        return "\n".join(self._lines(elsewhere=False)).strip()

    @property
    def elsewhere(self) -> list[str]:
        """The commands that cannot."""
        return self._lines(elsewhere=True)

    def _lines(self, *, elsewhere: bool) -> list[str]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.startswith(ELSEWHERE) is elsewhere]

    def __str__(self) -> str:
        return f"{self.page}-{self.text.splitlines()[0][:40]}"


_SEEN: set[str] = set()
_numbers = count()


def sessions_of(page):
    text = (ROOT / page).read_text()
    functions = ""
    for indent, box in re.findall(r"(?ms)^( *)```sh\n(.*?)^ *```", text):
        commands = re.sub(rf"(?m)^{indent}", "", box)
        if page.startswith("docs/runbooks/"):
            # They all begin alike: once is enough.
            commands = "".join(
                line for line in commands.splitlines(keepends=True) if line not in _SEEN
            )
            _SEEN.update(commands.splitlines(keepends=True))
        yield Session(page, commands, functions)
        functions += "".join(re.findall(r"(?ms)^\w+\(\) \{.*?; \}\n", commands))


SESSIONS = [
    session for page in PAGES for session in sessions_of(page) if session.text.strip()
]


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(410 if self.path == "/gone" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def receiver():
    """Return where webhooks are taken; under ``/gone`` they are not."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack in the background, for all tests of this file."""
    with background_stack(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


@pytest.fixture
def shell(stack, tmp_path):
    directory = tmp_path / "shell"
    shell = shell_beside(stack.data_dir, directory)
    for name, text in (
        ("curl", CURL),
        ("psql", f'exec {PSQL} "$@"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        program = directory / "bin" / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (directory / ".bellhop").symlink_to(stack.data_dir)
    return shell


@pytest.fixture
def ask(stack):
    headers = {"Authorization": f"Bearer {stack.file.api_key}"}
    base_url = f"{stack.file.base_url}/api/v1"
    with httpx.Client(base_url=base_url, headers=headers, timeout=30) as client:

        def asked(method, path, body=None):
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        yield asked


@dataclass(frozen=True)
class Reader:
    """Somebody who read on to a box, and has what the page calls by a name."""

    stack: OwnStack
    ask: Callable[..., Any]
    receiver: str

    def known(self, page):
        """Return what *page* takes for granted: names, and what they stand for."""
        file = self.stack.file
        known: dict[str, str] = {
            "BELLHOP": file.base_url,
            "API_KEY": str(file.api_key),
            "BELLHOP_ADMIN_KEY": file.admin_key,
            "DATABASE_URL": file.database_url,
            "ORGANIZATION": self.ask("GET", "/organizations")[0]["id"],
        }
        for begins, own in OWN.items():
            if page.startswith(begins):
                known |= own(self)
        return known

    def delivery(self):
        """An endpoint, and the job of a delivery to it."""
        body = {"url": self.receiver, "event_types": ["known"]}
        endpoint = self.ask("POST", "/endpoints", body)["id"]
        said = {"event_type": "known", "payload": 1}
        message = self.ask("POST", "/messages", said)["id"]
        [told, *_] = self.ask("GET", f"/messages/{message}")["deliveries"]
        return {"ENDPOINT": endpoint, "JOB": told["job_id"]}

    def claimed(self):
        """A worker's job, and its lease."""
        body = {"queue_name": "sums", "payload": {"add": [1, 2]}}
        self.ask("POST", "/jobs", body)
        return self._claim("sums", "me")

    def workflow(self):
        """A workflow, and the lease of its one job."""
        split = {"key": "split", "queue_name": "split", "payload": {}}
        made = self.ask("POST", "/workflows", {"name": "Pages", "jobs": [split]})
        return {"WORKFLOW": made["workflow_id"], **self._claim("split", "worker-1")}

    def outgoing_webhook(self):
        """An outgoing webhook, and a delivery that failed."""
        body = {
            "name": "ours",
            "url": f"{self.receiver}/gone",
            "events": ["queue.paused"],
        }
        id_ = self.ask("POST", "/outgoing-webhooks", body)["id"]
        self.ask("POST", "/jobs", {"queue_name": "told", "payload": {}})
        self.ask("POST", "/queues/told/pause", {})
        self.ask("POST", "/queues/told/resume", {})
        failed = f"/outgoing-webhooks/{id_}/deliveries?status=failed"
        return {"ID": id_, "DELIVERY": asyncio.run(self._first(failed))["id"]}

    async def _first(self, path):
        return (await until(lambda: self.ask("GET", path), at_most=30))[0]

    def databases(self):
        """The stack's database, and an empty one."""
        old = self.stack.file.database_url
        new = f"restored_{next(_numbers)}"
        asyncio.run(execute(old, f"CREATE DATABASE {new}"))
        return {"OLD": old, "NEW": url_of(new, server=old)}

    def _claim(self, queue_name, worker_id):
        body = {"queue_name": queue_name, "worker_id": worker_id, "wait_seconds": 10}
        [job] = self.ask("POST", "/jobs/claim", body)["jobs"]
        return {"JOB": job["id"], "LEASE": job["lease_id"]}

    def customer(self):
        """Another organization, whose plan may be changed."""
        file = self.stack.file
        answer = httpx.post(
            f"{file.base_url}/api/v1/admin/organizations",
            headers={"X-Admin-Key": file.admin_key},
            json={"name": "Customer", "slug": "customer"},
        )
        return {"ORGANIZATION": answer.json()["organization"]["id"]}


#: What pages have that others have not, by how their names begin.
OWN = {
    "README.md": Reader.claimed,
    "docs/access.md": Reader.customer,
    "docs/endpoints.md": Reader.delivery,
    "docs/operations.md": Reader.databases,
    "docs/outgoing-webhooks.md": Reader.outgoing_webhook,
    "docs/runbooks/": Reader.delivery,
    "docs/workflows.md": Reader.workflow,
}


async def execute(database_url, statement):
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_what_stands_on_the_page_works(shell, stack, ask, receiver, session):
    text = session.here
    if not text:
        pytest.skip("nothing of it can be run here")
    for theirs in RECEIVERS:
        text = text.replace(theirs, receiver)

    said = shell.run(
        session.functions + text, **Reader(stack, ask, receiver).known(session.page)
    )

    assert said.returncode == 0, said.stdout + said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_what_is_done_elsewhere_names_what_is_there(session):
    for command in session.elsewhere:
        if command.startswith("make"):
            target = command.split("#")[0].split()[1:]
            subprocess.run(["make", "-n", *target], cwd=ROOT, check=True)
        for path in re.findall(
            r"(?:^|[ =])((?:deploy/k8s|deploy/helm|docs|libs)/\S+)", command
        ):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_statements_on_the_page_work(stack, page):
    for statement in re.findall(r"(?ms)^```sql\n(.*?)^```", (ROOT / page).read_text()):
        asyncio.run(execute(stack.file.database_url, statement))
