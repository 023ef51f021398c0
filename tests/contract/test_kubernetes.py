"""What is applied has the shape that the cluster asks for, and keeps to our policy.

The shapes are those of Kubernetes, KEDA and the Prometheus operator, as the packages of
cloudcoil have them, and those of the Gateway API as `tests.support.gateway_api` has
them; nothing is asked of a cluster.  Where ``kubectl`` is at hand the
overlays are looked at as they are applied.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.kubernetes import (
    apps,
    autoscaling,
    batch,
    core,
    networking,
    policy,
)
from cloudcoil.models.prometheus_operator import v1 as monitoring

from tests.support import gateway_api

KUBERNETES = Path(__file__).parents[2] / "deploy/k8s"
MODELS = {
    "apps/v1": apps.v1,
    "autoscaling/v2": autoscaling.v2,
    "batch/v1": batch.v1,
    "keda.sh/v1alpha1": keda,
    "monitoring.coreos.com/v1": monitoring,
    "networking.k8s.io/v1": networking.v1,
    "policy/v1": policy.v1,
    "v1": core.v1,
}
FILES = sorted(
    path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"
)
OVERLAYS = ("development", "production")
#: All that there are, put upon the production overlay.
COMPONENTS = ("metrics-token", "tools", "tracing")


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def strict(node):
    """Let no object have a field that its schema does not name."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            strict(value)
    elif isinstance(node, list):
        for value in node:
            strict(value)
    return node


@cache
def shape_of(version, kind):
    if version == "gateway.networking.k8s.io/v1":
        return jsonschema_rs.validator_for(gateway_api.KINDS[kind])
    model = getattr(MODELS[version], kind)
    return jsonschema_rs.validator_for(strict(model.model_json_schema(by_alias=True)))


def faults(document):
    shape = shape_of(document["apiVersion"], document["kind"])
    return [
        f"{document['kind']} {error.instance_path}: {error.message[:200]}"
        for error in shape.iter_errors(document)
    ]


def pods(found):
    for document in found:
        if document["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield document, document["spec"]["template"]["spec"]
        elif document["kind"] == "CronJob":
            job = document["spec"]["jobTemplate"]["spec"]
            yield document, job["template"]["spec"]


def breaches(found):
    """What is against our policy, as sentences."""
    for document, pod in pods(found):
        wrong = {
            "may run as root": pod["securityContext"].get("runAsNonRoot") is not True,
            "has a token": pod.get("automountServiceAccountToken") is not False,
        }
        told = [sentence for sentence, is_so in wrong.items() if is_so]
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            told += of_container(container)
        if document["kind"] not in {"Job", "CronJob"}:
            told += [
                f"has no {probe}"
                for container in pod["containers"]
                for probe in ("startupProbe", "livenessProbe", "readinessProbe")
                if probe not in container
            ]
        yield from (f"{document['metadata']['name']} {one}" for one in told)


def of_container(container):
    context, image = container["securityContext"], container["image"]
    resources = container["resources"]
    both = {"cpu", "memory"}
    wrong = {
        "writes to its file system": not context.get("readOnlyRootFilesystem"),
        "may become more": context.get("allowPrivilegeEscalation") is not False,
        "has capabilities": context.get("capabilities", {}).get("drop") != ["ALL"],
        "has no requests": resources.get("requests", {}).keys() != both,
        "has no limits": resources.get("limits", {}).keys() != both,
        "runs whatever": image.endswith(":latest") or ":" not in image,
    }
    return [sentence for sentence, is_so in wrong.items() if is_so]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_manifest_has_the_shape_that_is_asked_for(path):
    found = documents(path.read_text())

    assert found
    assert [fault for document in found for fault in faults(document)] == []


def test_a_fault_is_found():
    [deployment, *_] = documents((KUBERNETES / "base/delivery.yaml").read_text())
    deployment["spec"]["replica"] = 2

    assert faults(deployment) != []


@pytest.mark.parametrize("kind", ["Gateway", "HTTPRoute", "GRPCRoute"])
def test_a_fault_in_a_route_is_found(kind):
    routes = documents((KUBERNETES / "components/gateway/routes.yaml").read_text())
    [route] = [one for one in routes if one["kind"] == kind][:1]
    route["spec"]["hostname"] = "bellhop.example.com"

    assert faults(route) != []


def test_routes_lead_to_ports_that_exist():
    def all_of(path):
        return documents((KUBERNETES / path).read_text())

    services = {
        document["metadata"]["name"]: document["spec"]["ports"]
        for name in ("ingest", "streamer")
        for document in all_of(f"base/{name}.yaml")
        if document["kind"] == "Service"
    }
    backends = [
        backend
        for route in all_of("components/gateway/routes.yaml")
        if route["kind"] != "Gateway"
        for rule in route["spec"]["rules"]
        for backend in rule.get("backendRefs", ())
    ]

    assert len(backends) == 3
    for backend in backends:
        ports = services[backend["name"]]
        assert backend["port"] in {port["port"] for port in ports}


def built(directory):
    """What a kustomization applies."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, to put the overlays together")
    done = subprocess.run(
        [kubectl, "kustomize", directory],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def everything(directory):
    """What the production overlay applies with every component that there is."""
    here = Path(os.path.relpath(KUBERNETES.resolve(), directory.resolve()))
    (directory / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "namespace": "bellhop",
                "resources": [str(here / "overlays/production")],
                "components": [str(here / "components" / one) for one in COMPONENTS],
            }
        )
    )
    return built(directory)


@pytest.fixture(params=[*OVERLAYS, "everything"])
def applied(request, tmp_path):
    """What an overlay applies."""
    if request.param == "everything":
        return everything(tmp_path)
    return built(KUBERNETES / "overlays" / request.param)


def test_an_overlay_has_the_shape_that_is_asked_for(applied):
    assert [fault for document in applied for fault in faults(document)] == []


def test_an_overlay_keeps_to_our_policy(applied):
    assert list(breaches(applied)) == []
    assert len(list(pods(applied))) >= 6


def test_every_setting_of_an_overlay_exists(applied):
    from tests.contract.test_deploy import SERVICES, variables_of  # noqa: PLC0415

    known = set().union(*(variables_of(service) for service in SERVICES))
    for document in applied:
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith(
            "bellhop"
        ):
            # The SDK of OpenTelemetry reads more of its own.
            own = {name for name in document["data"] if not name.startswith("OTEL_")}
            assert own <= known


def labels_of(document):
    """The labels of the pods that something makes."""
    spec = document["spec"]
    spec = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
    return spec["template"]["metadata"]["labels"]


def test_our_pods_are_kept_apart_and_nobody_elses(applied):
    """A PostgreSQL in the same namespace is reached by those whom it is for."""
    [policy] = [
        document["spec"]
        for document in applied
        if (document["kind"], document["metadata"]["name"])
        == ("NetworkPolicy", "everything")
    ]
    selected = policy["podSelector"]["matchLabels"].items()

    for document, _ in pods(applied):
        ours = document["kind"] != "StatefulSet"
        assert (selected <= labels_of(document).items()) is ours, document["metadata"]
    assert not selected <= {"cnpg.io/cluster": "bellhop"}.items()


def test_the_tools_stand_beside_a_chart_as_well():
    found = built(KUBERNETES / "components/tools")

    assert [fault for document in found for fault in faults(document)] == []
    assert list(breaches(found)) == []
    assert {document["metadata"]["name"] for document, _ in pods(found)} == {
        "backup",
        "doctor",
    }


def test_in_development_delivery_reaches_receivers_that_are_private():
    [policy] = [
        document["spec"]
        for document in built(KUBERNETES / "overlays/development")
        if (document["kind"], document["metadata"]["name"])
        == ("NetworkPolicy", "delivery")
    ]
    peers = [peer for rule in policy["egress"] for peer in rule["to"]]

    assert {"namespaceSelector": {}} in peers
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in peers


@pytest.mark.parametrize("token", [False, True])
def test_a_token_is_shown_only_where_there_is_one(token, tmp_path):
    """The operator skips a monitor whose token it does not find, optional or not."""
    found = everything(tmp_path) if token else built(KUBERNETES / "overlays/production")
    [monitor] = [one for one in found if one["kind"] == "ServiceMonitor"]
    [endpoint] = monitor["spec"]["endpoints"]

    assert ("authorization" in endpoint) is token
    if token:
        assert endpoint["authorization"]["credentials"] == {
            "name": "bellhop",
            "key": "BELLHOP_METRICS_TOKEN",
        }


def test_spans_have_a_way_to_the_collector_that_is_told(tmp_path):
    found = everything(tmp_path)
    [told] = [
        one["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        for one in found
        if one["kind"] == "ConfigMap"
    ]
    [policy] = [
        one["spec"]
        for one in found
        if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", "collector")
    ]
    [rule] = policy["egress"]
    [peer] = rule["to"]

    url = urlsplit(told)
    name = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
    assert url.hostname.split(".")[0] == name
    assert [port["port"] for port in rule["ports"]] == [url.port]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "may run as root"),
        (lambda pod: pod["containers"][0].update(image="x:latest"), "runs whatever"),
        (lambda pod: pod["containers"][0].pop("livenessProbe"), "no livenessProbe"),
        (lambda pod: pod["containers"][0]["resources"].pop("limits"), "no limits"),
    ],
)
def test_what_is_against_the_policy_is_found(change, sentence):
    found = documents((KUBERNETES / "base/delivery.yaml").read_text())
    for _, pod in pods(found):
        change(pod)

    assert any(sentence in breach for breach in breaches(found))
