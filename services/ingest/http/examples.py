"""Examples of bodies, by the name of their shape, and of what stands in paths.

A test holds every one against the shape that checks it.  A shape that is not here has
an example made of what it requires.
"""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
_PARENT_ID: Final = "01890a5d-a2c0-7b52-8f36-0c7d5a1e9b44"
_LEASE_ID: Final = "01890a5d-b1f4-7c7e-9a4e-6f0f5f1f2c11"
_TOKEN: Final = "eyJhbGciOi…"  # noqa: S105 - the beginning of any
_RETRY: Final = {"strategy": "schedule", "schedule_seconds": [5, 60, 3600]}

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "AddWorkflowJobs": {
        "worker_id": "worker-1",
        "lease_id": _LEASE_ID,
        "jobs": [
            {
                "key": "parcel-1",
                "queue_name": "warehouse",
                "payload": {"invoice": "{{parents.charge.result.invoice}}"},
                "depends_on": ["charge"],
            }
        ],
    },
    "AddDependencies": {"depends_on": [_PARENT_ID], "dependency_mode": "all"},
    "AdminChangeOrganization": {
        "plan_tier": "pro",
        "custom_limits": {"max_queues": 50},
    },
    "AdminCreateOrganization": {"name": "Acme", "slug": "acme", "plan_tier": "pro"},
    "Backfill": {"from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z"},
    "BeatHeart": {"current_jobs": 2, "status": "healthy"},
    "BulkEnqueue": {
        "queue_name": "mail",
        "jobs": [
            {"payload": {"to": "ada@example.com"}, "priority": 10},
            {"payload": {"to": "bob@example.com"}, "idempotency_key": "welcome-bob"},
        ],
        "default_max_retries": 5,
    },
    "ChangeEndpoint": {"event_types": ["invoice.*"], "enabled": True},
    "ChangeKey": {"rate_limit": 600},
    "ChangeOrganization": {"billing_email": "ada@example.com"},
    "ChangePriority": {"priority": 10},
    "ChangeSchedule": {"cron_expression": "0 7 * * MON-FRI"},
    "ChangeWebhook": {"events": ["job.failed"], "enabled": True},
    "ClaimJobs": {
        "queue_name": "mail",
        "worker_id": "worker-1",
        "limit": 10,
        "lease_duration_secs": 30,
        "wait_seconds": 20,
    },
    "ClearWebhookToken": {"confirm": True},
    "CompleteJob": {
        "worker_id": "worker-1",
        "lease_id": _LEASE_ID,
        "result": {"sent": True},
    },
    "CompleteMany": {
        "worker_id": "worker-1",
        "jobs": [{"job_id": _ID, "lease_id": _LEASE_ID, "result": {"sent": True}}],
    },
    "CompleteSignup": {"signup_token": _TOKEN, "name": "Acme", "slug": "acme"},
    "ConfigureSource": {"secret": "the-secret-you-gave-github"},
    "ConfigureQueue": {
        "max_retries": 5,
        "rate_limit": 50,
        "settings": {"concurrency": 10, "retry": _RETRY},
    },
    "CreateEndpoint": {
        "url": "https://example.com/webhooks",
        "description": "Accounting",
        "event_types": ["invoice.*"],
        "filter": {"data.amount": {"$gte": 100}},
    },
    "CreateJob": {
        "queue_name": "mail",
        "payload": {"to": "ada@example.com"},
        "priority": 10,
        "max_retries": 5,
        "idempotency_key": "welcome-ada",
        "tags": ["welcome"],
        "retry": _RETRY,
    },
    "CreateWebhook": {
        "name": "operations",
        "url": "https://example.com/bellhop",
        "events": ["job.failed", "queue.paused"],
        "secret": "a long and random text",
    },
    "CreateKey": {"name": "mailer", "queues": ["mail"], "rate_limit": 600},
    "CustomWebhook": {
        "queue_name": "orders",
        "event_type": "order.paid",
        "payload": {"order": 42},
        "idempotency_key": "order-42-paid",
    },
    "CreateSchedule": {
        "name": "Morning report",
        "cron_expression": "0 7 * * MON-FRI",
        "timezone": "Europe/Berlin",
        "queue_name": "reports",
        "payload_template": {"kind": "daily", "for": "{{schedule.tick}}"},
        "overlap": "skip",
    },
    "CreateWorkflow": {
        "name": "Order 4711",
        "jobs": [
            {"key": "charge", "queue_name": "billing", "payload": {"order": 4711}},
            {
                "key": "ship",
                "queue_name": "warehouse",
                "payload": {"order": 4711},
                "depends_on": ["charge"],
            },
        ],
    },
    "FailJob": {
        "worker_id": "worker-1",
        "lease_id": _LEASE_ID,
        "error": "the printer is on fire",
    },
    "FailMany": {
        "worker_id": "worker-1",
        "jobs": [
            {
                "job_id": _ID,
                "lease_id": _LEASE_ID,
                "error": "the printer is on fire",
                "no_retry": True,
            }
        ],
    },
    "KeepJob": {
        "worker_id": "worker-1",
        "lease_id": _LEASE_ID,
        "lease_duration_secs": 60,
    },
    "Login": {"api_key": "sk_live_…………"},
    "OpenPortal": {"return_url": "https://example.com/billing"},
    "PauseQueue": {"reason": "the printer is on fire"},
    "PreviewSchedule": {
        "cron_expression": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "from": "2026-03-28T00:00:00Z",
        "count": 3,
    },
    "PurgeDead": {"confirm": True, "queue_name": "mail"},
    "Refresh": {"refresh_token": _TOKEN},
    "RegisterWorker": {
        "queue_name": "mail",
        "hostname": "worker-1.example.com",
        "worker_id": "worker-1",
    },
    "RetryDead": {"job_ids": [_ID]},
    "RotateEndpointSecret": {"overlap_seconds": 86_400},
    "RotateSecret": {"overlap_seconds": 86_400},
    "SendTest": {"event_type": "invoice.paid", "payload": {"invoice": "inv_42"}},
    "SendMessage": {
        "event_type": "invoice.paid",
        "payload": {"invoice": "inv_42", "data": {"amount": 500}},
        "idempotency_key": "inv_42-paid",
        "ordering_key": "inv_42",
    },
    "StartReplay": {
        "since": "2026-01-01T00:00:00Z",
        "status": "failed",
        "filter": {"data.amount": {"$gte": 100}},
        "rate_per_second": 20,
    },
    "Validate": {"token": _TOKEN},
}

#: What stands in a path, by what comes before it; else it is an id.
_PLACES: Final = {
    "incoming-webhooks": "github",
    "queues": "mail",
    "workers": "worker-1",
}


def path_of(template: str) -> str:
    """Return a path with something in each of its places."""
    parts = template.split("/")
    return "/".join(
        _PLACES.get(before, _ID) if part.startswith("{") else part
        for before, part in zip(["", *parts], parts, strict=False)
    )
