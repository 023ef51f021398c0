"""The ways in, an Ingress or a Gateway: where they lead, and how long they wait."""

from services.ingest.grpc.checks import WAIT_SECONDS_MAX
from services.ingest.http import streams
from tests.contract.test_deploy import (
    ROOT,
    documents,
    kubernetes_environment,
    resources,
)


def test_the_real_time_routes_and_the_pages_lead_to_the_streamer():
    [rule] = resources()["Ingress", "bellhop"]["spec"]["rules"]
    by_ingress = {
        (path["pathType"], path["path"]): path["backend"]["service"]["name"]
        for path in rule["http"]["paths"]
    }
    by_gateway = {
        (path["type"].removeprefix("Path"), path["value"]): backend
        for path, backend, _ in gateway_routes()
    }

    starts = [path for kind, path in by_ingress if kind == "Prefix"]

    def leads(path):
        longest = max((one for one in starts if path.startswith(one)), key=len)
        return by_ingress.get(("Exact", path), by_ingress["Prefix", longest])

    assert by_ingress == by_gateway
    passed_on = [*(route.path for route in streams.routes()), *streams.PAGES]
    assert {leads(path) for path in passed_on} == {"streamer"}
    assert {leads(path) for path in ("/api/v1/jobs", "/docs")} == {"ingest"}


def gateway_routes():
    """What the Gateway matches, where it leads, and what time it has."""
    [route] = [
        document
        for document in documents(ROOT / "deploy/k8s/components/gateway/routes.yaml")
        if (document["kind"], document["metadata"]["name"]) == ("HTTPRoute", "bellhop")
    ]
    for rule in route["spec"]["rules"]:
        [backend] = rule["backendRefs"]
        for match in rule["matches"]:
            yield match["path"], backend["name"], rule["timeouts"]


def test_nothing_in_front_ends_a_long_poll_or_a_stream():
    everything = resources()
    rest, rpc = (
        everything["Ingress", name]["metadata"]["annotations"]
        for name in ("bellhop", "bellhop-grpc")
    )

    assert all(timeouts == {"request": "0s"} for *_, timeouts in gateway_routes())
    read = int(rest["nginx.ingress.kubernetes.io/proxy-read-timeout"])
    assert read > 1.5 * WAIT_SECONDS_MAX
    # A stream of gRPC is one body.
    assert rpc["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"


def test_ingest_knows_how_it_is_reached():
    """One proxy is between, and addresses in answers begin with the one door's."""
    given = kubernetes_environment("ingest")
    [rule] = resources()["Ingress", "bellhop"]["spec"]["rules"]

    assert given["BELLHOP_TRUSTED_PROXY_HOPS"] == "1"
    assert given["BELLHOP_EXTERNAL_URL"] == f"https://{rule['host']}"
