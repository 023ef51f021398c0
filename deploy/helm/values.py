"""What the user of the chart may say: the values, their comments and their schema.

Whatever the manifests of deploy/k8s say is taken from there.
"""

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
is a HorizontalPodAutoscaler by CPU and memory.  extraEnv is variables of its container,
beside those that it has, as in [{name: BELLHOP_SMTP_HOST, value: mail.example}].
trustedProxyHops is how many proxies between the client and here add to
X-Forwarded-For.  externalUrl is what addresses in answers begin with: empty, it is
https:// and the host of the way in.""",
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
the cluster say [{ipBlock: {cidr: ADDRESS/32}}].  dns is who is asked for names: on
OpenShift the namespace openshift-dns, and port 5353.  collector is where spans go
(docs/tracing.md): while its `to` is empty, nowhere.""",
    "monitoring": """\
For the Prometheus operator: a ServiceMonitor, and the alerts.  labels are put on both,
as kube-prometheus-stack asks for one (`release`).  token shows BELLHOP_METRICS_TOKEN,
and is only for a Secret that has one: without it the operator skips the ServiceMonitor.
runbooks is where docs/runbooks is, as an address for whoever reads an alert.""",
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
        "extraEnv": [],
    }
    scaler = found.get(("HorizontalPodAutoscaler", service))
    if scaler:
        told["autoscaling"] = {
            "enabled": True,
            "minReplicas": scaler["spec"]["minReplicas"],
            "maxReplicas": scaler["spec"]["maxReplicas"],
        }
    return told


def _ingest() -> dict[str, Any]:
    deployment = _documents("base/ingest.yaml")["Deployment", "ingest"]["spec"]
    [container] = deployment["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    return _of_service("ingest") | {
        "trustedProxyHops": int(told["BELLHOP_TRUSTED_PROXY_HOPS"]),
        "externalUrl": "",
    }


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
    [names] = found["NetworkPolicy", "everything"]["spec"]["egress"]
    told["dns"] = {"to": names["to"], "ports": names["ports"]}
    collector = _documents("components/tracing/network-policy.yaml")
    [rule] = collector["NetworkPolicy", "collector"]["spec"]["egress"]
    told["collector"] = {"to": [], "port": rule["ports"][0]["port"]}
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
        "ingest": _ingest(),
        "dispatcher": _of_service("dispatcher"),
        "delivery": _delivery(),
        "scheduler": _of_service("scheduler"),
        "streamer": _of_service("streamer"),
        "migrate": {"resources": container["resources"]},
        "ingress": _ingress(),
        "gateway": _gateway(),
        "networkPolicy": _network_policy(),
        "monitoring": {
            "enabled": False,
            "alerts": False,
            "interval": "15s",
            "labels": {},
            "token": False,
            "runbooks": "docs/runbooks",
        },
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
    parts["monitoring"]["properties"]["labels"] = texts
    parts["ingest"]["properties"]["trustedProxyHops"] |= {"minimum": 0, "maximum": 16}
    parts["ingest"]["properties"]["externalUrl"]["pattern"] = "^(https?://[^\\s?#]+)?$"
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
