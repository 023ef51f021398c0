"""What the manifests promise the services, and what the services ask of the manifests.

Nothing is started here: the files are read as Docker and Kubernetes would read them.
"""

import base64
import importlib
import re
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from libs.cli import nats_users
from libs.cli.commands import TREE
from libs.common import addresses
from libs.common.messages import WORK, WORK_CONSUMER
from libs.common.settings import DatabaseSettings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/k8s/base"
PRODUCTION = ROOT / "deploy/k8s/overlays/production"
TOOLS = ROOT / "deploy/k8s/components/tools"
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
KEY = base64.b64encode(bytes(32)).decode()


def settings_of(service):
    return importlib.import_module(f"services.{service}.settings").Settings


def variables_of(service):
    """The environment variables that a service reads, and whether it must have them."""
    return {
        field.validation_alias or f"BELLHOP_{name.upper()}": field.is_required()
        for name, field in settings_of(service).model_fields.items()
    }


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def resources():
    """What the base applies, by kind and name."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return {
        (document["kind"], document["metadata"]["name"]): document
        for name in kustomization["resources"]
        for document in documents(BASE / name)
    }


def configuration():
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    [generator] = kustomization["configMapGenerator"]
    assert generator["name"] == "bellhop"
    return dict(literal.split("=", 1) for literal in generator["literals"])


def pod_of(service):
    return resources()["Deployment", service]["spec"]["template"]["spec"]


def kubernetes_environment(service):
    """What a container is given; secrets as their variable in ``${}``."""
    [container] = pod_of(service)["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "bellhop"}}]
    given = configuration()
    for variable in container["env"]:
        if "value" in variable:
            given[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            # Each service is a user of its own to NATS.
            key = variable["name"].replace("NATS_URL", f"NATS_{service.upper()}_URL")
            assert (reference["name"], reference["key"]) == ("bellhop", key)
            if not reference.get("optional"):
                given[variable["name"]] = f"${{{variable['name']}}}"
    return given


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def filled(environment):
    """The environment with defaults taken and secrets made up."""
    secrets = {
        "DATABASE_URL": "postgresql://bellhop:x@postgres:5432/bellhop",
        "NATS_URL": "nats://delivery:x@nats:4222",
        "BELLHOP_SECRET_KEY": KEY,
        "BELLHOP_TOKEN_KEY": KEY,
    }

    def fill(match):
        name, default = match[1], match[2] or ""
        made_up = secrets.get(name, "x1")
        return default.removeprefix(":-") if default.startswith(":-") else made_up

    return {
        name: re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", fill, value)
        for name, value in environment.items()
    }


@pytest.fixture(params=["kubernetes", "compose"])
def environment_of(request):
    if request.param == "kubernetes":
        return kubernetes_environment
    return lambda service: compose()["services"][service]["environment"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_what_it_reads_and_nothing_else(service, environment_of):
    given, read = environment_of(service), variables_of(service)

    assert set(given) - set(read) == set()
    assert {name for name, required in read.items() if required} - set(given) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_given_is_valid(service, environment_of, monkeypatch):
    for name in variables_of(service):
        monkeypatch.delenv(name, raising=False)
    for name, value in filled(environment_of(service)).items():
        monkeypatch.setenv(name, value)

    settings = settings_of(service)()

    assert not settings.development
    assert settings.nats_url.endswith("@nats:4222")


@pytest.mark.parametrize("service", ["streamer", "dispatcher", "scheduler"])
def test_only_who_seals_and_who_signs_is_given_the_key(service, environment_of):
    assert "BELLHOP_SECRET_KEY" not in environment_of(service)
    assert "BELLHOP_SECRET_KEY" in environment_of("ingest")
    assert "BELLHOP_SECRET_KEY" in environment_of("delivery")


def test_delivery_is_kept_from_the_database():
    assert not issubclass(settings_of("delivery"), DatabaseSettings)
    assert "initContainers" not in pod_of("delivery")
    assert "DATABASE_URL" not in str(pod_of("delivery"))
    services = compose()["services"]
    assert services["postgres"]["networks"] == ["data"]
    assert "data" not in services["delivery"]["networks"]


# --- Kubernetes --------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_is_kept_on_a_short_leash(service):
    pod = pod_of(service)

    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_is_watched_and_has_time_to_leave(service):
    pod = pod_of(service)
    [container] = pod["containers"]

    assert container["image"] == f"bellhop/{service}"
    for probe, path in {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    needed = float(configuration()["BELLHOP_DRAIN_SECONDS"])
    if "lifecycle" in container:
        # The time that is given begins before this does.
        [_, seconds] = container["lifecycle"]["preStop"]["exec"]["command"]
        needed += float(seconds)
    assert pod["terminationGracePeriodSeconds"] == needed + 5


@pytest.mark.parametrize("service", SERVICES)
def test_ports_lead_where_the_service_listens(service):
    [container] = pod_of(service)["containers"]
    environment = kubernetes_environment(service)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}

    assert ports.pop("health") == environment["BELLHOP_HEALTH_PORT"]
    for name, port in ports.items():
        assert port == environment[f"BELLHOP_{name.upper()}_PORT"]
        assert environment[f"BELLHOP_{name.upper()}_HOST"] == "0.0.0.0"
    found = resources()["Service", service]["spec"]
    assert found["selector"] == {"app.kubernetes.io/name": service}
    for port in found["ports"]:
        assert port["targetPort"] in {p["name"] for p in container["ports"]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_node_may_be_emptied_one_pod_at_a_time(service):
    everything = resources()

    budget = everything["PodDisruptionBudget", service]["spec"]
    assert budget["maxUnavailable"] == 1
    deployed = everything["Deployment", service]["spec"]
    if scaled := everything.get(("HorizontalPodAutoscaler", service)):
        # How many there are is for it to say.
        assert "replicas" not in deployed
        assert scaled["spec"]["minReplicas"] > 1
        assert scaled["spec"]["scaleTargetRef"]["name"] == service
    else:
        assert deployed["replicas"] > 1


@pytest.mark.parametrize("service", SERVICES)
def test_pods_of_a_service_stand_apart(service):
    pod, labels = pod_of(service), {"app.kubernetes.io/name": service}

    [apart] = pod["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    [spread] = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels


def test_the_schema_is_brought_by_a_job_that_needs_no_hook():
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    tags = {image["name"]: image["newTag"] for image in kustomization["images"]}
    [job] = documents(BASE / "migrate.yaml")

    # A Job cannot be changed: each release has one of its own.
    tag = tags["bellhop/ingest"].replace(".", "-")
    assert job["metadata"]["name"] == f"migrate-{tag}"
    assert "hook" not in str(job["metadata"])
    # It tries for as long as PostgreSQL may be away.
    assert job["spec"]["backoffLimit"] >= 1000
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == compose()["services"]["migrate"]["command"]
    assert [variable["name"] for variable in container["env"]] == ["DATABASE_URL"]


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "delivery"])
def test_a_pod_waits_for_the_schema(service):
    [waits] = pod_of(service)["initContainers"]

    assert waits["image"] == f"bellhop/{service}"
    assert waits["command"][-2:] == ["migrate", "--wait"]
    assert [variable["name"] for variable in waits["env"]] == ["DATABASE_URL"]


def test_the_example_secret_names_every_secret_and_is_not_applied():
    [example] = documents(BASE / "secret.example.yaml")
    referred = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for service in SERVICES
        for variable in pod_of(service)["containers"][0]["env"]
        if "valueFrom" in variable
    } | {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for name in ("backup", "doctor")
        for variable in tool(name)["containers"][0]["env"]
        if "valueFrom" in variable
    }

    assert example["stringData"].keys() == referred
    assert ("Secret", "bellhop") not in resources()


def tool(name):
    """The pod of a CronJob among the tools."""
    [job] = [
        document
        for document in documents(TOOLS / f"{name}.yaml")
        if document["kind"] == "CronJob"
    ]
    return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", ["backup", "doctor"])
def test_a_tool_is_a_command_that_there_is(name):
    kustomization = yaml.safe_load((TOOLS / "kustomization.yaml").read_text())
    [container] = tool(name)["containers"]

    [image] = kustomization["images"]
    assert container["image"] == image["name"]
    assert re.findall(r"libs\.cli (\w+)", " ".join(container["command"])) == [name]
    assert name in TREE


def test_delivery_reaches_nothing_private():
    policy = resources()["NetworkPolicy", "delivery"]["spec"]

    assert policy["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "delivery"
    }
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    blocks = [
        peer["ipBlock"]
        for rule in policy["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    reached = [ip_network(block["cidr"]) for block in blocks]
    left_out = {ip_network(one) for block in blocks for one in block["except"]}
    special = [*addresses._SPECIAL_V4, *addresses._SPECIAL_V6]
    assert left_out <= set(special)
    assert [
        block
        for block in special
        if block not in left_out and any(_overlap(block, one) for one in reached)
    ] == []


def egress_of(name):
    """Whom pods with this name may reach: labels of pods, and blocks of addresses."""
    reached: list[str] = []
    for (kind, _), policy in resources().items():
        if kind != "NetworkPolicy" or "Egress" not in policy["spec"]["policyTypes"]:
            continue
        selector = policy["spec"]["podSelector"]
        names = {
            value
            for one in selector.get("matchExpressions", ())
            for value in one["values"]
        } | set(selector.get("matchLabels", {}).values())
        # All of ours have the label of the whole (see the kustomization).
        if not names & {name, "bellhop"}:
            continue
        for rule in policy["spec"].get("egress", ()):
            for peer in rule["to"]:
                block = peer.get("ipBlock", {}).get("cidr")
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                reached += [block] if block else map("=".join, labels.items())
    return set(reached)


def test_nobody_gets_out_but_delivery_and_delivery_to_nobody_of_ours():
    nats = "app.kubernetes.io/name=nats"
    dns = {"k8s-app=kube-dns", "k8s-app=node-local-dns", "169.254.20.10/32"}
    postgres = {"app.kubernetes.io/name=postgres", "cnpg.io/cluster=bellhop"}

    assert egress_of("delivery") == {*dns, nats, "0.0.0.0/0", "2000::/3"}
    for service in ("dispatcher", "scheduler", "streamer", "tools"):
        assert egress_of(service) == {*dns, nats, *postgres}
    streamer = "app.kubernetes.io/name=streamer"
    assert egress_of("ingest") == {*dns, nats, *postgres, streamer}
    assert egress_of("migrate") == {*dns, *postgres}


def _overlap(one, other):
    return one.version == other.version and one.overlaps(other)


def test_delivery_is_scaled_by_the_consumer_that_it_reads_and_by_what_is_due():
    overlay = yaml.safe_load((PRODUCTION / "kustomization.yaml").read_text())
    scaled, authentication = documents(PRODUCTION / "scaled-object.yaml")

    assert "scaled-object.yaml" in overlay["resources"]
    assert scaled["spec"]["scaleTargetRef"] == {"name": "delivery"}
    assert scaled["spec"]["minReplicaCount"] > 0
    triggers = {one["type"]: one for one in scaled["spec"]["triggers"]}
    lag = triggers["nats-jetstream"]["metadata"]
    assert (lag["stream"], lag["consumer"]) == (WORK.name, WORK_CONSUMER)
    assert lag["account"] == nats_users.SERVICES
    # The chart's Service `nats` has no port of monitoring.
    assert lag["natsServerMonitoringEndpoint"] == "nats-headless.nats.svc:8222"
    due = triggers["postgresql"]
    assert due["authenticationRef"] == {"name": authentication["metadata"]["name"]}
