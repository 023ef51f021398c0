"""What the description promises is what is answered, whatever is asked.

Schemathesis makes requests out of ``/openapi.json``, good ones and bad ones, and holds
each answer against it: no 5xx, only described statuses, types, headers and shapes.
The examples are the same in every run.
"""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.endpoints import create_endpoint
from tests.support.furnished import PROVIDER, QUEUE, WORKER, Furnished, furnish
from tests.support.house import ADMIN_KEY, run_house
from tests.support.senders import EXAMPLES as SENDERS

EXAMPLES = 10
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: With the ids that there are, these would end what all others need.
FINAL = {"DELETE /organizations/{id}", "DELETE /api-keys/{id}"}
#: What takes things away is asked when all others have been, and signing out last.
ORDER = {"get": 0, "post": 1, "put": 2, "patch": 2, "delete": 3}
LATE = {
    "POST /jobs/dlq/retry": 2,
    "POST /organizations/webhook-token/clear": 2,
    "POST /organizations/webhook-token/regenerate": 2,
    "POST /workers/{id}/deregister": 2,
    "POST /jobs/dlq/purge": 4,
    "POST /auth/logout": 5,
}
#: What names nothing in its path, and yet has to speak of what there is.
MADE_TRUE = {
    "POST /endpoints",
    "POST /schedules",
    "POST /schedules/preview",
    "POST /workflows",
}
#: What has a meaning that no schema has.
SOUND = {
    "url": "http://localhost:9/",
    "cron_expression": "@hourly",
    "timezone": "Europe/Berlin",
    "from": "2026-03-01T00:00:00Z",
    "to": "2026-03-02T00:00:00Z",
    "since": "2026-03-01T00:00:00Z",
    "until": "2026-03-02T00:00:00Z",
}
#: What chance does not find: a key, a token, a code, a lease, somebody else's id.  What
#: signing in answers is held against the description where it is tested (`described`).
NEVER_MET = {
    "POST /auth/signup/complete",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/email/verify",
    "POST /billing/webhook",
    "POST /billing/portal",
    "POST /outgoing-webhooks/{id}/retry/{delivery_id}",
    "POST /workflows/{id}/jobs",
    "POST /workflows/{id}/retry",
    # A WebSocket, tried where it is tested.
    "GET /endpoints/{id}/listen",
    *FINAL,
}
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, kw_only=True)
class Ids:
    """What there is to be asked about."""

    owned: Furnished
    governed_id: str
    to_complete_id: str
    to_fail_id: str
    waiting_id: str
    ended_id: str
    idle_endpoint_id: str
    webhook_token: str

    def of(self, name, path):
        """Return the ids for the path of an operation."""
        own = {
            "POST /jobs/{id}/dependencies": self.waiting_id,
            "POST /jobs/{id}/complete": self.to_complete_id,
            "POST /jobs/{id}/fail": self.to_fail_id,
            "POST /jobs/{id}/resend": self.ended_id,
            "POST /endpoints/{id}/replay": self.idle_endpoint_id,
        }
        if name in own:
            return [{"id": own[name]}]
        if name.endswith("/backfills/{backfill_id}"):
            schedule, backfill = self.owned.schedule_id, self.owned.backfill_id
            return [{"id": schedule, "backfill_id": backfill}]
        return {
            "jobs": [{"id": one} for one in self.owned.job_ids],
            "queues": [{"name": QUEUE}],
            "workers": [{"id": WORKER}],
            "api-keys": [{"id": self.owned.key_id}],
            "endpoints": [{"id": self.owned.endpoint_id}],
            "messages": [{"id": self.owned.message_id}],
            "schedules": [{"id": self.owned.schedule_id}],
            "replays": [{"id": self.owned.replay_id}],
            "workflows": [{"id": self.owned.workflow_id, "job_id": self.owned.step_id}],
            "organizations": [{"id": self.owned.organization_id}],
            "outgoing-webhooks": [
                {"id": self.owned.webhook_id, "delivery_id": self.owned.dead_id}
            ],
            "admin": [{"id": self.governed_id}],
            "incoming-webhooks": [{"provider": PROVIDER}],
            "webhooks": [{"org_id": self.owned.organization_id}],
        }[path.removeprefix("/api/v1/").split("/")[0]]


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(
        database_url,
        nats_url,
        services=("ingest",),
        # Every request comes from another client: too many is another test.
        trusted_client_ip_header="X-Client",
        registration_mode="open",
    ) as house:
        yield house


@pytest.mark.timeout(240)
async def test_every_answer_is_as_described(api):
    owned = await furnish(api)
    body = {"name": "Governed", "slug": "governed"}
    other = await api.ask("POST", "/organizations", json=body, expect=201)
    ids = Ids(
        owned=owned,
        governed_id=other["organization"]["id"],
        to_complete_id=await claimed(api),
        to_fail_id=await claimed(api),
        waiting_id=await api.create(queue_name=QUEUE),
        ended_id=await ended(api),
        # Of the other a replay is running, and there is one at a time.
        idle_endpoint_id=(await create_endpoint(api))["id"],
        webhook_token=await believed(api),
    )
    made = await api.ask(
        "POST", "/auth/login", json={"api_key": api.tenant.api_key}, expect=200
    )
    credentials = {
        "bearer": {"Authorization": f"Bearer {made['access_token']}"},
        "admin": {"X-Admin-Key": ADMIN_KEY},
    }
    async with api.session.get(f"{api.base_url}/openapi.json") as answer:
        document = await answer.json()

    wrong, met = await asyncio.to_thread(
        ask_everything, api.base_url, document, ids, credentials
    )

    assert wrong == []
    unmet = {name for name, statuses in met.items() if min(statuses) >= 400}
    # A description whose success is never met is not tested by this.
    assert unmet == NEVER_MET
    assert len(met) == sum(map(len, document["paths"].values()))


async def believed(api):
    """Take webhooks of everybody; return the token of who has no signature."""
    for provider, (_, secret, *_) in SENDERS.items():
        path = f"/incoming-webhooks/{provider}"
        await api.ask("PUT", path, json={"secret": secret}, expect=200)
    made = await api.ask("POST", "/organizations/webhook-token/regenerate", expect=200)
    return made["webhook_token"]


def signing(name):
    """Return what signs the bytes of a request for who sends to *name*, or None."""
    sign = SENDERS.get(name.rpartition("/")[2], (None,))[0]
    if sign is None or not name.startswith("POST /webhooks/"):
        return None

    def signed(request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        media = request.headers.get("Content-Type")
        request.headers.update(sign(body))
        request.headers["Content-Type"] = media
        return request

    return signed


async def ended(api):
    """Return a webhook that was cancelled."""
    job = await api.create("http://localhost:9/", queue_name=QUEUE)
    await api.ask("DELETE", f"/jobs/{job}", expect=204)
    return job


async def claimed(api):
    """Return a job that the worker has in hands."""
    await api.create(queue_name=QUEUE)
    body = {"queue_name": QUEUE, "worker_id": WORKER, "lease_duration_secs": 3600}
    answer = await api.ask("POST", "/jobs/claim", json=body, expect=200)
    return answer["jobs"][0]["id"]


def ask_everything(base_url, document, ids, credentials):
    """Return what was not as described, and the statuses that each operation gave."""
    wrong: list[tuple[str, str]] = []
    met: dict[str, set[int]] = {}
    addresses = (f"10.{a}.{b}.1" for a, b in itertools.product(range(256), repeat=2))
    schema = schemathesis.openapi.from_dict(document)
    # The credentials are ours; another test walks without them.
    schema.config.generation.update(with_security_parameters=False)
    operations = [cast("Any", result).ok() for result in schema.get_all_operations()]
    with requests.Session() as session:
        for operation in sorted(operations, key=turn_of):
            for strategy in strategies(operation, ids):
                try:
                    run(
                        operation,
                        strategy,
                        base_url,
                        session,
                        credentials,
                        addresses,
                        met,
                        ids,
                    )
                except (FailureGroup, Failure) as failure:
                    wrong.append((operation.label, str(failure)))
    return wrong, met


def label(operation):
    """Return the method and the path of an operation, as they are told to users."""
    return f"{operation.method.upper()} {operation.path.removeprefix('/api/v1')}"


def turn_of(operation):
    name = label(operation)
    return LATE.get(name, ORDER[operation.method])


def strategies(operation, ids):
    """Yield requests for one operation: good, good about what there is, and bad."""
    name = label(operation)
    yield operation.as_strategy(GenerationMode.POSITIVE)
    if "{" in operation.path and name not in FINAL:
        for known in ids.of(name, operation.path):
            yield operation.as_strategy(GenerationMode.POSITIVE, path_parameters=known)
    if operation.body or operation.query:
        yield operation.as_strategy(GenerationMode.NEGATIVE)


def make_true(body, ids):
    """Let a body that is well formed speak of what there is."""
    if isinstance(body.get("worker_id"), str):
        body["worker_id"] = WORKER
        body.pop("lease_id", None)
    for name in ("depends_on", "dependency_job_ids", "depends_on_job_ids"):
        if isinstance(body.get(name), list):
            body[name] = [ids.owned.claimed_id]
    make_steps_true(body.get("jobs"))
    for name, sound in SOUND.items():
        if isinstance(body.get(name), str):
            body[name] = sound
    for name in (
        "auth",
        "tls",
        "filter",
        "headers",
        "secret",
        "signature_scheme",
        "target",
        "catch_up",
        "start_at",
        "end_at",
    ):
        # What is sound in these no schema says, and examples hardly ever are.
        if isinstance(body.get(name), dict | str):
            body.pop(name)


def make_steps_true(steps):
    """Let the jobs of a workflow be told apart, and wait for none that is not there."""
    for number, one in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(one, dict) and isinstance(one.get("key"), str):
            one["key"] = f"job-{number}"
            for name in ("depends_on", "dependency_types", "target"):
                one.pop(name, None)


def make_said(case, name):
    """Let what a provider sends say what all that it sends says."""
    if isinstance(case.body, dict) and name.endswith(("/stripe", "/slack")):
        case.body |= {"id": "evt_1", "type": "a", "command": "/b"}
    elif name.endswith(("/stripe", "/slack")):
        case.body = {"id": "evt_1", "type": "a", "command": "/b"}


def run(operation, strategy, base_url, session, credentials, addresses, met, ids):
    """Ask with each example; raises what is not as described."""
    raw, name = operation.definition.raw, label(operation)
    schemes = {scheme for one in raw["security"] for scheme in one}

    @SETTINGS
    @given(case=strategy)
    def ask(case):
        headers = {"X-Client": next(addresses)}
        for scheme in schemes & credentials.keys():
            headers |= credentials[scheme]
        if isinstance(case.body, dict) and "wait_seconds" in case.body:
            case.body["wait_seconds"] = 0
        if isinstance(case.body, dict) and (
            case.path_parameters or label(operation) in MADE_TRUE
        ):
            make_true(case.body, ids)
        if name.startswith("POST /webhooks/"):
            headers["X-Webhook-Token"] = ids.webhook_token
            make_said(case, name)
        response = case.call(
            base_url=base_url, session=session, headers=headers, auth=signing(name)
        )
        met.setdefault(label(operation), set()).add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
