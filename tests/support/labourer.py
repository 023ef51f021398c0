"""A worker as a process of its own: claims one job, keeps it, completes it when told.

Run with the API's address, a key and the worker's id.  It says on stdout, a line of
JSON each, what it asked and what it was answered; a line on stdin ends its work.
"""

import json
import select
import sys
import urllib.error
import urllib.request

LEASE_SECONDS = 5
HEARTBEAT_SECONDS = 1.0


def ask(base_url, key, path, body):
    """Return the status and the JSON of an answer."""
    request = urllib.request.Request(
        f"{base_url}/api/v1{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def tell(what, status, body):
    """Say on stdout what came of it."""
    print(json.dumps({"asked": what, "status": status, "body": body}), flush=True)


def main(base_url, key, worker_id):
    """Work on one job."""
    claim = {
        "queue_name": "mail",
        "worker_id": worker_id,
        "lease_duration_secs": LEASE_SECONDS,
        "wait_seconds": 25,
    }
    status, body = ask(base_url, key, "/jobs/claim", claim)
    tell("claim", status, body)
    [job] = body["jobs"]
    mine = {"worker_id": worker_id, "lease_id": job["lease_id"]}
    while not select.select([sys.stdin], [], [], HEARTBEAT_SECONDS)[0]:
        keep = {**mine, "lease_duration_secs": LEASE_SECONDS}
        tell("heartbeat", *ask(base_url, key, f"/jobs/{job['id']}/heartbeat", keep))
    done = {**mine, "result": {"by": worker_id}}
    tell("complete", *ask(base_url, key, f"/jobs/{job['id']}/complete", done))


if __name__ == "__main__":
    main(*sys.argv[1:])
