"""Re-encrypting: everything that is sealed, once, whatever changes meanwhile."""

import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from libs.common import founding, resealing
from libs.common.ids import new_id
from libs.common.sealing import Sealer
from libs.common.store import endpoint_secrets
from libs.common.store import resealing as store
from tests.support import stock

ROOT = Path(__file__).parents[2]
OLD = b64encode(b"o" * 32).decode()
NEW = b64encode(b"n" * 32).decode()
SECRET = b"the secret"
PARTS = {
    "signing_secret",
    "endpoint_secret",
    "endpoint_auth",
    "endpoint_tls",
    "completion_webhook",
    "incoming_source",
    "incoming_source_previous",
}


async def fill(conn, count=1, *, key=OLD):
    """Seal one of everything; return the endpoints."""
    sealer = Sealer(key)
    made = []
    for _ in range(count):
        line = await stock.open_endpoint(conn)
        assert line.endpoint_id is not None
        made.append(line.endpoint_id)
        owner, endpoint = str(line.organization_id), str(line.endpoint_id)
        await founding.new_secret(
            conn, sealer=sealer, organization_id=line.organization_id
        )
        await endpoint_secrets.put_secret(
            conn,
            endpoint_id=line.endpoint_id,
            scheme="v1",
            sealed=sealer.seal(SECRET, owner=endpoint),
        )
        await conn.execute(
            "UPDATE endpoints SET auth = $2, auth_shown = '{}', tls = $3,"
            " tls_shown = '{}' WHERE id = $1",
            line.endpoint_id,
            sealer.seal(SECRET, owner=endpoint),
            sealer.seal(SECRET, owner=endpoint),
        )
        job = new_id()
        await conn.execute(
            "INSERT INTO completion_webhooks (job_id, url, origin, sealed)"
            " VALUES ($1, 'https://x/', 'https://x:443', $2), ($3, 'u', 'o', NULL)",
            job,
            sealer.seal(SECRET, owner=str(job)),
            new_id(),
        )
        await conn.execute(
            "INSERT INTO incoming_sources (organization_id, provider, sealed,"
            " previous_sealed, previous_until)"
            " VALUES ($1, 'github', $2, $3, now()), ($1, 'slack', $4, NULL, NULL)",
            line.organization_id,
            *(sealer.seal(SECRET, owner=owner) for _ in range(3)),
        )
    return made


async def everything(conn, key):
    """Return every sealed text that *key* does not seal."""
    return await store.find_old(
        conn, key_id=Sealer(key).newest_id, after=("", ""), limit=1000
    )


async def test_every_column_that_is_sealed_is_known(conn):
    """A new one has to be told of, or its secrets would be lost with their key."""
    columns = await conn.fetch(
        "SELECT table_name || '.' || column_name AS name"
        "  FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'bytea'"
    )
    open_to_all = re.compile(
        r"\.(fingerprint|key_sha256|code_hmac|response_body)$|^attempts_|^jobs_"
    )

    assert {row["name"] for row in columns if not open_to_all.search(row["name"])} == {
        "completion_webhooks.sealed",
        "endpoint_secrets.sealed",
        "endpoints.auth",
        "endpoints.tls",
        "incoming_sources.previous_sealed",
        "incoming_sources.sealed",
        "signing_secrets.sealed",
    }
    await fill(conn)
    assert {one.part for one in await everything(conn, NEW)} == PARTS


async def test_everything_is_sealed_with_the_newest_key(
    conn, database_url, monkeypatch
):
    monkeypatch.setattr(resealing, "_BATCH", 5)
    endpoints = await fill(conn, 3)
    told = []

    done = await resealing.reseal_all(
        database_url,
        Sealer(f"{NEW},{OLD}"),
        told=lambda progress: told.append(progress.resealed.total()),
    )

    assert done.resealed.keys() == PARTS
    assert done.resealed["incoming_source"] == 6
    assert done.resealed.total() == 24
    assert not done.unopened
    assert told == [5, 10, 15, 20, 24]
    assert await everything(conn, NEW) == []
    # What stands there now the new key opens alone.
    for one in await everything(conn, OLD):
        opened = Sealer(NEW).unseal(one.sealed, owner=one.owner)
        assert opened == SECRET or one.part == "signing_secret"
    # Whoever remembers an endpoint looks again: its secret, its auth, its tls.
    versions = await conn.fetch("SELECT id, version FROM endpoints")
    assert {row["id"]: row["version"] for row in versions} == dict.fromkeys(
        endpoints, 4
    )

    again = await resealing.reseal_all(database_url, Sealer(f"{NEW},{OLD}"))
    assert not again.resealed


async def test_what_no_key_opens_is_left_and_told(conn, database_url):
    await fill(conn, key=b64encode(b"x" * 32).decode())
    await fill(conn, 2)

    done = await resealing.reseal_all(database_url, Sealer(f"{NEW},{OLD}"))

    assert done.unopened.total() == 8
    assert done.resealed.total() == 16
    assert len(await everything(conn, NEW)) == 8


async def test_what_was_changed_meanwhile_stays(conn):
    await fill(conn)
    sealer = Sealer(f"{NEW},{OLD}")
    found = [one for one in await everything(conn, NEW) if one.part == "endpoint_auth"]
    [one] = found
    changed = Sealer(OLD).seal(b"another", owner=one.owner)
    await conn.execute("UPDATE endpoints SET auth = $1", changed)

    new = sealer.seal(SECRET, owner=one.owner)
    assert await store.reseal(conn, part=one.part, changes=[(one, new)]) == 0

    assert await conn.fetchval("SELECT auth FROM endpoints") == changed


def bellhop(**environment):
    return subprocess.run(
        [sys.executable, "-m", "libs.cli", "reencrypt"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_command_says_what_it_did(conn, database_url):
    await fill(conn)

    said = bellhop(DATABASE_URL=database_url, BELLHOP_SECRET_KEY=f"{NEW},{OLD}")

    assert said.returncode == 0, said.stderr
    assert "incoming_source: 2 sealed anew" in said.stdout
    assert f"key {Sealer(NEW).newest_id.hex()}" in said.stdout
    wrong = bellhop(DATABASE_URL=database_url, BELLHOP_SECRET_KEY=OLD)
    assert wrong.returncode == 1
    assert "endpoint_tls: 1 left" in wrong.stdout


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"BELLHOP_SECRET_KEY": NEW}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "BELLHOP_SECRET_KEY"),
        (
            {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "BELLHOP_SECRET_KEY": "x"},
            "BELLHOP_SECRET_KEY",
        ),
        (
            {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "BELLHOP_SECRET_KEY": NEW},
            "postgres",
        ),
    ],
)
def test_the_command_says_what_it_misses(environment, words):
    said = bellhop(**{"DATABASE_URL": "", "BELLHOP_SECRET_KEY": "", **environment})

    assert said.returncode == 1
    assert words in said.stderr
    assert "Traceback" not in said.stderr
