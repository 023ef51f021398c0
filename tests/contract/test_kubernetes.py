"""What is applied has the shape that the cluster asks for, and keeps to our policy.

The shapes are those of Kubernetes, KEDA and the Prometheus operator, as the packages of
cloudcoil have them, and those of the Gateway API as `tests.support.gateway_api` has
them; nothing is asked of a cluster.  Where ``kubectl`` is at hand the
overlays are looked at as they are applied.
"""

import shutil
import subprocess
from functools import cache
from pathlib import Path

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
        if document["kind"] != "Job":
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


@pytest.fixture(params=OVERLAYS)
def applied(request):
    """What an overlay applies."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, to put the overlays together")
    done = subprocess.run(
        [kubectl, "kustomize", KUBERNETES / "overlays" / request.param],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


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
            assert set(document["data"]) <= known


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
