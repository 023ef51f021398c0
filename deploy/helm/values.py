"""What the user of the chart may say: the values, their comments and their schema.

Whatever the manifests of deploy/k8s say is taken from there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

KUBERNETES: Final = Path(__file__).parents[1] / "k8s"
SCALED: Final = ("ingest", "streamer", "delivery")
SECRETS: Final = (
    "DATABASE_URL",
    "NATS_INGEST_URL",
    "NATS_DISPATCHER_URL",
    "NATS_DELIVERY_URL",
    "NATS_SCHEDULER_URL",
    "NATS_STREAMER_URL",
    "BELLHOP_SECRET_KEY",
    "BELLHOP_TOKEN_KEY",
)
Value = Callable[[str], str]

COMMENTS: Final = {
    "image": """\
The five images are REPOSITORY/ingest:TAG and so on.  An empty tag is the release of
the chart.  pullSecrets are names, as in [{name: registry}].""",
    "secret": """\
The Secret that says where PostgreSQL and NATS are, and holds the keys: those of
deploy/k8s/base/secret.example.yaml.  Make it yourself; or let the chart make it of
`data`, which then stands in the history of the release.""",
    "settings": """\
What all services are told (docs/configuration.md).  A change rolls the pods.""",
    "ingest": """\
The front door: REST and gRPC.  There are `replicas` of it without autoscaling, which
is a HorizontalPodAutoscaler by CPU and memory.""",
    "dispatcher": "Who is next, and to whom.",
    "delivery": """\
Carries webhooks.  autoscaling needs KEDA (2.x), the monitoring port of NATS, and a
Secret with a `connection` to PostgreSQL for KEDA (docs/operations.md).""",
    "scheduler": "What is due, what was dropped, what is old.",
    "streamer": "What happens, as it happens; and the dashboard.",
    "migrate": "The Job that migrates, and what waits for it in the pods.",
    "ingress": "One way in.  tls is as in an Ingress, empty if TLS ends elsewhere.",
    "gateway": """\
The other way in: routes of the Gateway API (1.1 or newer).  create makes a Gateway of
your class; without it name yours in parents.""",
    "networkPolicy": """\
Who may reach whom.  to is peers of a NetworkPolicy: for a PostgreSQL or a NATS outside
the cluster say [{ipBlock: {cidr: ADDRESS/32}}].""",
    "monitoring": "For the Prometheus operator: a ServiceMonitor, and the alerts.",
}

NOTES: Final = """\
Bellhop {{ .Values.image.tag | default .Chart.AppVersion }} in {{ .Release.Namespace }}.

The pods wait until the Job migrate-… has brought the database to this release:

    kubectl -n {{ .Release.Namespace }} get jobs,pods

They read the Secret {{ .Values.secret.name }}.  Names of Services are fixed, so that
a namespace has room for one Bellhop.  No way in is open by default: ingress.enabled or
gateway.enabled opens one.  Until then:

    kubectl -n {{ .Release.Namespace }} port-forward service/ingest 8080
"""


def _documents(path: str) -> dict[tuple[str, str], Any]:
    text = (KUBERNETES / path).read_text()
    return {
        (found["kind"], found["metadata"]["name"]): found
        for found in yaml.safe_load_all(text)
        if found
    }


def _of_service(service: str) -> dict[str, Any]:
    found = _documents(f"base/{service}.yaml")
    deployment = found["Deployment", service]["spec"]
    [container] = deployment["template"]["spec"]["containers"]
    told = {
        "replicas": deployment.get("replicas", 2),
        "resources": container["resources"],
    }
    scaler = found.get(("HorizontalPodAutoscaler", service))
    if scaler:
        told["autoscaling"] = {
            "enabled": True,
            "minReplicas": scaler["spec"]["minReplicas"],
            "maxReplicas": scaler["spec"]["maxReplicas"],
        }
    return told


def _delivery() -> dict[str, Any]:
    scaled = _documents("overlays/production/scaled-object.yaml")
    spec = scaled["ScaledObject", "delivery"]["spec"]
    monitor = spec["triggers"][0]["metadata"]["natsServerMonitoringEndpoint"]
    return _of_service("delivery") | {
        "autoscaling": {
            "enabled": False,
            "minReplicas": spec["minReplicaCount"],
            "maxReplicas": spec["maxReplicaCount"],
            "natsMonitor": monitor,
            "secretName": "bellhop-keda",
        }
    }


def _settings() -> dict[str, str]:
    base = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())
    [generator] = base["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def _ingress() -> dict[str, Any]:
    found = _documents("base/ingress.yaml")
    told: dict[str, Any] = {"enabled": False, "className": "nginx"}
    for key, name in (("rest", "bellhop"), ("grpc", "bellhop-grpc")):
        document = found["Ingress", name]
        told[key] = {
            "host": document["spec"]["rules"][0]["host"],
            "tls": document["spec"]["tls"],
            "annotations": document["metadata"]["annotations"],
        }
    return told


def _gateway() -> dict[str, Any]:
    found = _documents("components/gateway/routes.yaml")
    listeners = {
        listener["name"]: listener
        for listener in found["Gateway", "bellhop"]["spec"]["listeners"]
    }
    told: dict[str, Any] = {"enabled": False, "create": True, "className": "bellhop"}
    for key, listener, kind in (
        ("rest", "https", "HTTPRoute"),
        ("grpc", "grpc", "GRPCRoute"),
    ):
        told[key] = {
            "host": listeners[listener]["hostname"],
            "tlsSecretName": listeners[listener]["tls"]["certificateRefs"][0]["name"],
            "parents": found[kind, "bellhop"]["spec"]["parentRefs"],
        }
    return told


def _network_policy() -> dict[str, Any]:
    found = _documents("base/network-policy.yaml")
    told: dict[str, Any] = {"enabled": True}
    for name in ("postgres", "nats"):
        [rule] = found["NetworkPolicy", name]["spec"]["egress"]
        told[name] = {"to": rule["to"], "port": rule["ports"][0]["port"]}
    return told


def values() -> dict[str, Any]:
    """Return the values that hold when nobody says otherwise."""
    job = _documents("base/migrate.yaml")
    [migrate] = job.values()
    [container] = migrate["spec"]["template"]["spec"]["containers"]
    return {
        "image": {
            "repository": "bellhop",
            "tag": "",
            "pullPolicy": "IfNotPresent",
            "pullSecrets": [],
        },
        "secret": {"name": "bellhop", "create": False, "data": {}},
        "settings": _settings(),
        "ingest": _of_service("ingest"),
        "dispatcher": _of_service("dispatcher"),
        "delivery": _delivery(),
        "scheduler": _of_service("scheduler"),
        "streamer": _of_service("streamer"),
        "migrate": {"resources": container["resources"]},
        "ingress": _ingress(),
        "gateway": _gateway(),
        "networkPolicy": _network_policy(),
        "monitoring": {"enabled": False, "alerts": False, "interval": "15s"},
    }


def as_text() -> str:
    """Return values.yaml, each part under its comment."""
    parts = [
        "# Made by `make helm` from deploy/k8s.  Changes go into a file of your own."
    ]
    for key, told in values().items():
        comment = "".join(f"# {line}\n" for line in COMMENTS[key].split("\n"))
        text = yaml.safe_dump({key: told}, sort_keys=False, width=10**6)
        parts.append(comment + text.rstrip())
    return "\n\n".join(parts) + "\n"


def _shape(told: Any) -> dict[str, Any]:
    if isinstance(told, dict):
        return {
            "type": "object",
            "additionalProperties": False,
            "required": list(told),
            "properties": {key: _shape(part) for key, part in told.items()},
        }
    for kind, name in ((bool, "boolean"), (int, "integer"), (str, "string")):
        if isinstance(told, kind):
            return {"type": name, **({"minimum": 1} if name == "integer" else {})}
    return {"type": "array", "items": {"type": "object"}}


def schema() -> dict[str, Any]:
    """Return the JSON schema of the values: what is misspelt is refused."""
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    shape = _shape(values())
    parts = shape["properties"]
    parts["settings"] = texts
    parts["secret"]["properties"]["data"] = texts
    parts["secret"] |= {
        "if": {"properties": {"create": {"const": True}}},
        "then": {"properties": {"data": {"required": list(SECRETS)}}},
    }
    parts["image"]["properties"]["pullPolicy"] = {
        "enum": ["Always", "IfNotPresent", "Never"]
    }
    for way in ("rest", "grpc"):
        parts["ingress"]["properties"][way]["properties"]["annotations"] = texts
    for name, part in parts.items():
        if "resources" in part.get("properties", {}):
            part["properties"]["resources"] = {
                "type": "object",
                "required": ["requests", "limits"],
            }
        if name in SCALED:
            part["properties"]["replicas"]["minimum"] = 1
    # Charts that hold this one hand these down.
    parts["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **shape}


def fill_scaling(document: Any, service: str, value: Value) -> None:
    """Let the values say within which bounds a service is scaled."""
    spec, at = document["spec"], f"{service}.autoscaling"
    if document["kind"] == "HorizontalPodAutoscaler":
        spec["minReplicas"] = value(f"{at}.minReplicas")
        spec["maxReplicas"] = value(f"{at}.maxReplicas")
    elif document["kind"] == "ScaledObject":
        spec["minReplicaCount"] = value(f"{at}.minReplicas")
        spec["maxReplicaCount"] = value(f"{at}.maxReplicas")
        spec["triggers"][0]["metadata"]["natsServerMonitoringEndpoint"] = value(
            f"{at}.natsMonitor"
        )
    else:
        spec["secretTargetRef"][0]["name"] = value(f"{at}.secretName")


def fill_policy(document: Any, value: Value) -> None:
    """Let the values say where PostgreSQL and NATS are; keep to our own pods."""
    name, spec = document["metadata"]["name"], document["spec"]
    if name == "everything":
        # A namespace may hold what is not ours.
        spec["podSelector"] = {"matchLabels": {"app.kubernetes.io/part-of": "bellhop"}}
    to_nats = spec["egress"][0] if name in {"nats", "delivery"} else None
    rule = spec["egress"][0] if name == "postgres" else to_nats
    if rule:
        peer = "postgres" if name == "postgres" else "nats"
        rule["to"] = value(f"networkPolicy.{peer}.to")
        rule["ports"][0]["port"] = value(f"networkPolicy.{peer}.port")


def fill_door(document: Any, value: Value) -> str:
    """Let the values say what a door is called; return when it is there."""
    kind, name, spec = (
        document["kind"],
        document["metadata"]["name"],
        document["spec"],
    )
    if kind == "Ingress":
        at = "ingress.grpc" if name == "bellhop-grpc" else "ingress.rest"
        spec["ingressClassName"] = value("ingress.className")
        spec["tls"] = value(f"{at}.tls")
        spec["rules"][0]["host"] = value(f"{at}.host")
        document["metadata"]["annotations"] = value(f"{at}.annotations")
        return ".Values.ingress.enabled"
    if kind == "Gateway":
        spec["gatewayClassName"] = value("gateway.className")
        for listener in spec["listeners"]:
            at = "gateway.grpc" if listener["name"] == "grpc" else "gateway.rest"
            listener["hostname"] = value(f"{at}.host")
            if "tls" in listener:
                [certificate] = listener["tls"]["certificateRefs"]
                certificate["name"] = value(f"{at}.tlsSecretName")
    else:
        at = "gateway.grpc" if kind == "GRPCRoute" else "gateway.rest"
        spec["hostnames"] = [value(f"{at}.host")]
        if name == "bellhop":
            spec["parentRefs"] = value(f"{at}.parents")
    own = kind == "Gateway" or name == "bellhop-redirect"
    enabled = ".Values.gateway.enabled"
    return f"and {enabled} .Values.gateway.create" if own else enabled
