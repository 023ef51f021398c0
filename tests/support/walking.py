"""Every described route, and everything that each can be asked about somebody's things.

The routes are those of the application, so a new one is walked too, or whoever walks is
told what has to be known about it.
"""

import asyncio

from libs.common.health import Health
from services.ingest.http.app import build
from services.ingest.http.routing import ROUTES
from tests.support.furnished import PROVIDER, QUEUE, WORKER
from tests.support.house import House, settings_of

NOWHERE = House("http://127.0.0.1:1", "postgresql://nowhere/none", "nats://nowhere")


def label(route):
    """Return the method and the path of a route, as they are told to users."""
    return f"{route.method} {route.template.removeprefix('/api/v1')}"


#: What the description of the API is made of.
EVERY_ROUTE = build(settings_of(NOWHERE, "ingest"), Health(asyncio.Event()))[ROUTES]
#: Streams are another service's, and walked there.
DESCRIBED = [
    route
    for route in EVERY_ROUTE
    if route.path.startswith("/api/v1/") and route.module != "streams"
]


def bodies(owned):
    """What to ask, by operation: well formed, and with the other's ids."""
    held = {"worker_id": WORKER, "lease_id": owned.lease_id}
    bare = {"worker_id": WORKER}
    ended = {"job_id": owned.claimed_id, "lease_id": owned.lease_id, "error": "x"}
    other = {"queue_name": "mine", "payload": {}}
    return {
        "POST /auth/logout": [{}],
        "POST /billing/portal": [{"return_url": "http://localhost:3000/"}],
        "POST /jobs/dlq/purge": [
            {"confirm": True},
            {"confirm": True, "queue_name": QUEUE},
        ],
        "POST /jobs/dlq/retry": [
            {"job_ids": [owned.dead_id]},
            {"queue_name": QUEUE},
            {"queue_name": QUEUE, "job_ids": [owned.dead_id]},
        ],
        "POST /jobs/{id}/dependencies": [{"depends_on": list(owned.job_ids)}],
        "POST /jobs": [{**other, "parent_job_id": owned.pending_id}],
        "POST /jobs/bulk": [
            {"jobs": [{**other, "parent_job_id": owned.pending_id}]},
        ],
        "PUT /api-keys/{id}": [{"is_active": False}],
        "POST /api-keys": [{"name": "mine"}],
        "PUT /organizations/{id}": [{"name": "Conquered"}],
        "PUT /incoming-webhooks/{provider}": [{"enabled": False}],
        "POST /outgoing-webhooks": [
            {"name": "m", "url": "http://localhost:9/", "events": ["job.failed"]}
        ],
        "PUT /outgoing-webhooks/{id}": [
            {"url": "http://localhost:9/mine"},
            {"secret": None},
            {"enabled": False},
        ],
        "PUT /jobs/{id}/priority": [{"priority": 100}],
        "PUT /queues/{name}/config": [{"enabled": False}],
        "POST /queues/{name}/pause": [{"reason": "spite"}],
        "POST /organizations/signing-secret/rotate": [{}],
        "POST /organizations/webhook-token/clear": [{"confirm": True}],
        "POST /jobs/claim": [{"queue_name": QUEUE, **bare}],
        "POST /jobs/{id}/complete": [held, bare],
        "POST /jobs/complete/bulk": [{**bare, "jobs": [ended]}],
        "POST /jobs/{id}/fail": [{**held, "error": "x"}, {**bare, "error": "x"}],
        "POST /jobs/fail/bulk": [{**bare, "jobs": [ended]}],
        "POST /jobs/{id}/heartbeat": [
            {**held, "lease_duration_secs": 3600},
            {**bare, "lease_duration_secs": 5},
        ],
        "POST /messages": [{"event_type": "mine", "payload": {}}],
        "POST /endpoints": [{"url": "http://localhost:9/mine"}],
        "PATCH /endpoints/{id}": [{"enabled": False}, {"url": "http://localhost:9/"}],
        "PUT /endpoints/{id}": [{"description": "Conquered"}],
        "POST /endpoints/{id}/test": [{}, {"payload": {"n": 1}}],
        "POST /endpoints/{id}/replay": [{"since": "2020-01-01T00:00:00Z"}],
        "POST /endpoints/{id}/secret/rotate": [{}, {"overlap_seconds": 0}],
        "POST /schedules": [
            {
                "name": "mine",
                "queue_name": "mine",
                "cron_expression": "@yearly",
                "payload_template": 1,
                "target": {"endpoint_id": owned.endpoint_id},
            },
        ],
        "PUT /schedules/{id}": [{"name": "Conquered"}],
        "POST /schedules/preview": [{"cron_expression": "@daily"}],
        "POST /schedules/{id}/backfill": [{"from": "2020-01-01T00:00:00Z"}],
        "POST /workflows": [
            {
                "name": "mine",
                "jobs": [
                    {
                        **other,
                        "key": "a",
                        "target": {"endpoint_id": owned.endpoint_id},
                    }
                ],
            },
        ],
        "POST /workflows/{id}/jobs": [{**held, "jobs": [{**other, "key": "mine"}]}],
        "POST /workers/{id}/heartbeat": [{"current_jobs": 0, "status": "offline"}],
        "POST /workers/register": [
            {"queue_name": "mine", "hostname": "h", "worker_id": WORKER},
            {"queue_name": QUEUE, "hostname": "h"},
        ],
    }


#: A query that names what is another's.
QUERIES = {
    "GET /jobs": ["", f"?queue_name={QUEUE}", "?q=victims", "?tag=victims-secret"],
    "GET /jobs/dlq": ["", f"?queue_name={QUEUE}"],
    "GET /jobs/stats": ["", f"?queue_name={QUEUE}"],
    "GET /webhooks/deliveries": ["", f"?queue_name={QUEUE}"],
    "GET /schedules": ["", f"?queue_name={QUEUE}"],
    "DELETE /queues/{name}": ["", "?delete_jobs=true"],
    "GET /workflows": ["", "?status=pending"],
    "GET /messages": ["", f"?event_type={QUEUE}.sent"],
}


def requests_of(route, owned):
    """Yield (path, body) for everything *route* can be asked about *owned*."""
    paths = [route.template.removeprefix("/api/v1")]
    if route.path.startswith("/api/v1/jobs/{id}"):
        paths = [paths[0].replace("{id}", one) for one in owned.job_ids]
    else:
        kind = route.path.split("/")[3]
        ids = {
            "queues": {"name": QUEUE},
            "workers": {"id": WORKER},
            "api-keys": {"id": owned.key_id},
            "endpoints": {"id": owned.endpoint_id},
            "messages": {"id": owned.message_id},
            "schedules": {
                "id": owned.schedule_id,
                "backfill_id": owned.backfill_id,
            },
            "replays": {"id": owned.replay_id},
            "workflows": {"id": owned.workflow_id, "job_id": owned.step_id},
            "organizations": {"id": owned.organization_id},
            "incoming-webhooks": {"provider": PROVIDER},
            "webhooks": {"org_id": owned.organization_id},
            "outgoing-webhooks": {
                "id": owned.webhook_id,
                "delivery_id": owned.dead_id,
            },
            "admin": {"id": owned.organization_id},
        }
        for name in route.placeholders:
            paths = [one.replace(f"{{{name}}}", ids[kind][name]) for one in paths]
    given = bodies(owned)
    if route.body is not None and route.access in {"key", "session"}:
        assert label(route) in given, f"say what to ask {label(route)}"
    queries = QUERIES.get(label(route), [""])
    if label(route) == "GET /jobs/status":
        queries = [f"?ids={','.join(owned.job_ids)}"]
    for path in paths:
        for query in queries:
            for body in given.get(label(route), [None]):
                yield path + query, body
