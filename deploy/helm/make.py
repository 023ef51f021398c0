"""Make the Helm chart from the manifests of deploy/k8s, so that the two cannot drift.

    python deploy/helm/make.py [DIRECTORY]

The forms that templates have are in `forms`, what can be said in `values`, and where it
goes in `filling`.
"""

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import filling
import values as made
import yaml
from forms import each, escaped, only_if, template, value

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy/k8s"
SERVICES: Final = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
TAG: Final = "«.Values.image.tag | default .Chart.AppVersion»"


def documents(path: Path) -> list[Any]:
    """Return what a manifest holds."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def fill_pod(document: Any, name: str) -> None:
    """Let the values say what a pod of *name* is made of."""
    around = document["spec"]["template"]
    around["metadata"]["labels"]["app.kubernetes.io/part-of"] = "bellhop"
    around["metadata"]["annotations"] = {
        "checksum/settings": "«toJson .Values.settings | sha256sum | quote»",
        "checksum/secret": "«toJson .Values.secret | sha256sum | quote»",
    }
    pod = around["spec"]
    pod["imagePullSecrets"] = value("image.pullSecrets")
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        service = container["image"].removeprefix("bellhop/")
        container["image"] = f"«.Values.image.repository»/{service}:{TAG}"
        container["imagePullPolicy"] = value("image.pullPolicy")
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                variable["valueFrom"]["secretKeyRef"]["name"] = value("secret.name")
    [main] = pod["containers"]
    main["resources"] = value(f"{name}.resources")
    for first in pod.get("initContainers", ()):
        first["resources"] = value("migrate.resources")


def of_service(service: str) -> str:
    """Return the template of one service."""
    parts: list[tuple[str | None, Any]] = []
    scaled = f".Values.{service}.autoscaling.enabled"
    found = documents(KUBERNETES / "base" / f"{service}.yaml")
    if service == "delivery":
        found += documents(KUBERNETES / "overlays/production/scaled-object.yaml")
    for document in found:
        kind, spec = document["kind"], document["spec"]
        condition = None
        if kind == "Deployment":
            fill_pod(document, service)
            [main] = spec["template"]["spec"]["containers"]
            filling.fill_environment(main["env"], service)
            key = "replicas"
            if service in made.SCALED:
                key = only_if(f"not {scaled}", key)
            spec.pop("replicas", None)
            document["spec"] = {key: value(f"{service}.replicas")} | spec
        elif kind in {
            "HorizontalPodAutoscaler",
            "ScaledObject",
            "TriggerAuthentication",
        }:
            condition = scaled
            filling.fill_scaling(document, service)
        labelled(document)
        parts.append((condition, document))
    return template(*parts)


def labelled(document: Any) -> Any:
    """Return *document* with what Helm and people look for it by."""
    labels = document["metadata"].setdefault("labels", {})
    labels["app.kubernetes.io/part-of"] = "bellhop"
    labels["app.kubernetes.io/managed-by"] = "«.Release.Service»"
    return document


def migration() -> str:
    """Return the template of the Job, whose name changes with what is in it."""
    [job] = documents(KUBERNETES / "base/migrate.yaml")
    fill_pod(job, "migrate")
    job["metadata"]["name"] = (
        "migrate-«list .Chart.Version .Values | toJson | sha256sum | trunc 10»"
    )
    return template((None, labelled(job)))


def network_policies() -> str:
    """Return the template of who may reach whom."""
    parts = []
    for path in ("base/network-policy.yaml", "components/tracing/network-policy.yaml"):
        for document in documents(KUBERNETES / path):
            condition = filling.fill_policy(document)
            parts.append((condition, labelled(document)))
    return template(*parts)


def doors() -> dict[str, str]:
    """Return the templates of the ways in: the Ingress, and the routes of a Gateway."""
    told = {}
    for name, path in (
        ("ingress", "base/ingress.yaml"),
        ("gateway", "components/gateway/routes.yaml"),
    ):
        parts = []
        for document in documents(KUBERNETES / path):
            condition = filling.fill_door(document)
            parts.append((condition, labelled(document)))
        told[f"{name}.yaml"] = template(*parts)
    return told


def monitoring() -> str:
    """Return the template of what the Prometheus operator reads."""
    place = KUBERNETES / "overlays/production"
    [monitor] = documents(place / "monitoring.yaml")
    [alerts] = documents(place / "alerts.yaml")
    component = KUBERNETES / "components/metrics-token/kustomization.yaml"
    [patch] = yaml.safe_load(component.read_text())["patches"]
    [addition] = yaml.safe_load(patch["patch"])
    filling.fill_monitor(monitor, addition["value"])
    alerts = escaped(alerts)
    filling.fill_alerts(alerts)
    for document in (monitor, alerts):
        labelled(document)["metadata"]["labels"][each("monitoring.labels")] = None
    return template(
        (".Values.monitoring.enabled", monitor),
        (".Values.monitoring.alerts", alerts),
    )


def settings() -> str:
    """Return the template of the ConfigMap, and of a Secret for whoever has none."""
    parts = [
        (None, "ConfigMap", "bellhop", {"data": value("settings")}),
        (
            ".Values.secret.create",
            "Secret",
            value("secret.name"),
            {"type": "Opaque", "stringData": value("secret.data")},
        ),
    ]
    return template(
        *(
            (
                condition,
                labelled({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
                | rest,
            )
            for condition, kind, name, rest in parts
        )
    )


def chart() -> str:
    """Return Chart.yaml, with the one version that pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return (
        "# Made by `make helm`.\n"
        "apiVersion: v2\n"
        "name: bellhop\n"
        f"description: {json.dumps(project['description'])}\n"
        "type: application\n"
        f"version: {project['version']}\n"
        f"appVersion: {json.dumps(project['version'])}\n"
        'kubeVersion: ">=1.27.0-0"\n'
    )


def files() -> dict[str, str]:
    """Return the chart: the text of each file by its path."""
    return {
        "Chart.yaml": chart(),
        "values.yaml": made.as_text(),
        "values.schema.json": json.dumps(made.schema(), indent=2) + "\n",
        "templates/NOTES.txt": made.NOTES,
        "templates/settings.yaml": settings(),
        "templates/migrate.yaml": migration(),
        "templates/network-policy.yaml": network_policies(),
        "templates/monitoring.yaml": monitoring(),
        **{f"templates/{name}": text for name, text in doors().items()},
        **{f"templates/{service}.yaml": of_service(service) for service in SERVICES},
    }


def main() -> None:
    """Write the chart where it belongs, or to the directory that is named."""
    default = ROOT / "deploy/helm/bellhop"
    place = Path(sys.argv[1]) if sys.argv[1:] else default
    shutil.rmtree(place, ignore_errors=True)
    for name, text in files().items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
