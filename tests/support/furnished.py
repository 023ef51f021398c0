"""An organization that has one of everything, and a look at all of it.

The ids are handed to others, who must not get anywhere with them.
"""

import json
from collections.abc import Container
from dataclasses import dataclass

import asyncpg

from tests.support.house import Api
from tests.support.senders import github

QUEUE = "victims-queue"
WORKER = "victims-worker"
SECRET = "victims-secret"
PROVIDER = "github"
#: What changes by itself, or by counting requests: no data of anybody's.
_RESTLESS_TABLES = {"allowances", "leaders", "migrations"}
_RESTLESS_COLUMNS = {"last_used_at"}


@dataclass(frozen=True)
class Furnished:
    """What there is, by its ids."""

    organization_id: str
    key_id: str
    endpoint_id: str
    message_id: str
    schedule_id: str
    backfill_id: str
    replay_id: str
    workflow_id: str
    step_id: str
    pending_id: str
    claimed_id: str
    lease_id: str
    dead_id: str
    webhook_id: str

    @property
    def job_ids(self) -> tuple[str, ...]:
        return self.pending_id, self.claimed_id, self.dead_id

    @property
    def secrets(self) -> set[str]:
        """What must not be read by others: ids, names and bodies."""
        return {
            self.organization_id,
            self.key_id,
            self.endpoint_id,
            self.message_id,
            self.webhook_id,
            self.schedule_id,
            self.backfill_id,
            self.workflow_id,
            self.step_id,
            *self.job_ids,
            self.lease_id,
            QUEUE,
            WORKER,
            SECRET,
        }


async def furnish(api: Api) -> Furnished:
    """Give the tenant one of everything, and a job in each state."""
    path = f"/queues/{QUEUE}/config"
    await api.ask("PUT", path, json={"max_retries": 0}, expect=200)
    body = {"queue_name": QUEUE, "hostname": SECRET, "worker_id": WORKER}
    await api.ask("POST", "/workers/register", json=body, expect=201)
    asked = {"name": SECRET, "queues": [QUEUE]}
    key = await api.ask("POST", "/api-keys", json=asked, expect=201)
    endpoint = await api.ask(
        "POST",
        "/endpoints",
        json={
            "url": f"http://localhost:9/{SECRET}",
            "description": SECRET,
            "event_types": [f"{QUEUE}.*"],
            "auth": {"kind": "bearer", "token": SECRET},
        },
        expect=201,
    )
    source = {"secret": SECRET, "queue_name": QUEUE}
    path = f"/incoming-webhooks/{PROVIDER}"
    await api.ask("PUT", path, json=source, expect=200)
    told = {
        "name": SECRET,
        "url": f"http://localhost:9/{SECRET}",
        "events": ["queue.paused"],
        "secret": SECRET,
    }
    webhook = await api.ask("POST", "/outgoing-webhooks", json=told, expect=201)
    payload = {"secret": SECRET}
    sent = {"event_type": f"{QUEUE}.sent", "payload": payload, "ordering_key": SECRET}
    message = await api.ask("POST", "/messages", json=sent, expect=201)
    replay = await api.ask(
        "POST",
        f"/endpoints/{endpoint['id']}/replay",
        json={"since": "2020-01-01T00:00:00Z", "filter": {SECRET: True}},
        expect=202,
    )
    for _ in range(2):
        await api.create(queue_name=QUEUE, payload=payload, tags=[SECRET])
    ids, leases = [], []
    for _ in range(2):
        claim = {"queue_name": QUEUE, "worker_id": WORKER, "lease_duration_secs": 3600}
        claimed = await api.ask("POST", "/jobs/claim", json=claim, expect=200)
        (job,) = claimed["jobs"]
        ids.append(job["id"])
        leases.append(job["lease_id"])
    end = {"worker_id": WORKER, "error": SECRET, "no_retry": True}
    await api.ask("POST", f"/jobs/{ids[0]}/fail", json=end, expect=200)
    spelled = json.dumps(payload).encode()
    await api.ask(
        "POST",
        f"/webhooks/{api.tenant.id}/{PROVIDER}",
        data=spelled,
        headers=github(spelled, secret=SECRET),
        expect=200,
    )
    timed = {
        "name": SECRET,
        "queue_name": QUEUE,
        "cron_expression": "0 0 1 1 *",
        "payload_template": {"secret": SECRET},
    }
    schedule = await api.ask("POST", "/schedules", json=timed, expect=201)
    path = f"/schedules/{schedule['id']}/backfill"
    past = {"from": "2020-02-01T00:00:00Z", "to": "2020-03-01T00:00:00Z"}
    backfill = await api.ask("POST", path, json=past, expect=202)
    later = {"scheduled_at": "2100-01-01T00:00:00Z", "queue_name": QUEUE}
    steps = [
        {**later, "key": "a", "payload": payload},
        {**later, "key": "b", "payload": payload, "depends_on": ["a"]},
    ]
    flow = {"name": SECRET, "jobs": steps}
    workflow = await api.ask("POST", "/workflows", json=flow, expect=200)
    return Furnished(
        organization_id=str(api.tenant.id),
        key_id=key["id"],
        endpoint_id=endpoint["id"],
        message_id=message["id"],
        schedule_id=schedule["id"],
        backfill_id=backfill["id"],
        replay_id=replay["replay_id"],
        workflow_id=workflow["id"],
        step_id=workflow["job_ids"][1]["job_id"],
        pending_id=await api.create(queue_name=QUEUE, payload=payload),
        claimed_id=ids[1],
        lease_id=leases[1],
        dead_id=ids[0],
        webhook_id=webhook["id"],
    )


async def belongings(
    conn: asyncpg.Connection, owned: Furnished, *, but: Container[str] = ()
) -> dict[str, list[str]]:
    """Return every row that names something of *owned*, by table, *but* of some."""
    tables = await conn.fetch(
        "SELECT c.relname AS name FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')"
        " AND NOT c.relispartition ORDER BY 1"
    )
    found = {}
    for table in tables:
        name = table["name"]
        if name in _RESTLESS_TABLES or name in but:
            continue
        rows = await conn.fetch(f'SELECT to_jsonb(t) AS row FROM "{name}" t')
        kept = [_settled(row["row"]) for row in rows]
        mine = sorted(row for row in kept if any(one in row for one in owned.secrets))
        if mine:
            found[name] = mine
    return found


def _settled(row: str) -> str:
    columns = json.loads(row)
    return json.dumps(
        {
            name: value
            for name, value in columns.items()
            if name not in _RESTLESS_COLUMNS
        },
        sort_keys=True,
    )
