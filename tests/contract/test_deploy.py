"""What the manifests promise the services, and what the services ask of the manifests.

Nothing is started here: the files are read as Docker and Kubernetes would read them.
"""

import base64
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from libs.common.messages import WORK, WORK_CONSUMER
from libs.common.settings import DatabaseSettings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/k8s/base"
KEDA = ROOT / "deploy/k8s/overlays/keda"
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
            assert (reference["name"], reference["key"]) == (
                "bellhop",
                variable["name"],
            )
            if not reference.get("optional"):
                given[variable["name"]] = f"${{{reference['key']}}}"
    return given


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def filled(environment):
    """The environment with defaults taken and secrets made up."""
    secrets = {
        "DATABASE_URL": "postgresql://bellhop:x@postgres:5432/bellhop",
        "NATS_URL": "nats://bellhop:x@nats:4222",
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
        assert "memory" in container["resources"]["limits"]


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
    drain = float(configuration()["BELLHOP_DRAIN_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] == drain + 5
    if "lifecycle" in container:
        [_, seconds] = container["lifecycle"]["preStop"]["exec"]["command"]
        assert float(seconds) < 5


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
    assert everything["Deployment", service]["spec"]["replicas"] > 1


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "delivery"])
def test_the_schema_is_there_before_the_service(service):
    [migrate] = pod_of(service)["initContainers"]

    assert migrate["command"] == compose()["services"]["migrate"]["command"]
    assert [variable["name"] for variable in migrate["env"]] == ["DATABASE_URL"]


def test_the_example_secret_names_every_secret_and_is_not_applied():
    [example] = documents(BASE / "secret.example.yaml")
    referred = {
        variable["name"]
        for service in SERVICES
        for variable in pod_of(service)["containers"][0]["env"]
        if "valueFrom" in variable
    }

    assert example["stringData"].keys() == referred
    assert ("Secret", "bellhop") not in resources()


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
    [everything] = [block for block in blocks if block["cidr"] == "0.0.0.0/0"]
    assert {
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    } <= set(everything["except"])


def test_the_real_time_routes_lead_to_the_streamer():
    [rule] = resources()["Ingress", "bellhop"]["spec"]["rules"]
    routes = {
        path["path"]: path["backend"]["service"]["name"]
        for path in rule["http"]["paths"]
    }

    assert routes == {
        "/api/v1/events": "streamer",
        "/api/v1/ws": "streamer",
        "/": "ingest",
    }


def test_delivery_is_scaled_by_the_consumer_that_it_reads():
    overlay = yaml.safe_load((KEDA / "kustomization.yaml").read_text())
    [scaled] = documents(KEDA / "scaled-object.yaml")

    assert overlay["resources"] == ["../../base", "scaled-object.yaml"]
    assert scaled["spec"]["scaleTargetRef"] == {"name": "delivery"}
    assert scaled["spec"]["minReplicaCount"] > 0
    [lag] = [t for t in scaled["spec"]["triggers"] if t["type"] == "nats-jetstream"]
    assert lag["metadata"]["stream"] == WORK.name
    assert lag["metadata"]["consumer"] == WORK_CONSUMER


# --- Compose and the images --------------------------------------------------------


def test_compose_runs_the_house():
    services = compose()["services"]

    assert services.keys() == {*SERVICES, "postgres", "nats", "migrate"}
    assert services["postgres"]["image"] == "postgres:18"
    for service in SERVICES:
        assert services[service]["build"] == {
            "context": ".",
            "args": {"SERVICE": service},
        }
        drain = float(services[service]["environment"]["BELLHOP_DRAIN_SECONDS"])
        assert services[service]["stop_grace_period"] == f"{drain + 5:.0f}s"


def test_compose_has_one_door():
    services = compose()["services"]

    assert [name for name, service in services.items() if "ports" in service] == [
        "ingest"
    ]
    streamer = services["streamer"]["environment"]
    assert services["ingest"]["environment"]["BELLHOP_STREAMER_URL"] == (
        f"http://streamer:{streamer['BELLHOP_HTTP_PORT']}"
    )


def test_every_variable_of_compose_stands_in_the_example():
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))
    offered = set(re.findall(r"^(\w+)=", example, re.MULTILINE))

    assert required <= offered <= required | optional


def test_nats_takes_a_batch_in_one_message():
    text = (ROOT / "deploy/nats/bellhop.conf").read_text()

    assert "max_payload: 8MB" in text
    assert "jetstream {" in text


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_installs_its_group_at_the_pins(service):
    def lines(*arguments):
        answer = subprocess.run(
            [sys.executable, "deploy/image/lock.py", *arguments],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        )
        return answer.stdout.splitlines()

    pinned = {line.split("==")[0] for line in lines("pins")}
    wanted = {re.split(r"[<>=\[]", line)[0] for line in lines("wanted", service)}

    assert "aiohttp" in wanted
    assert ("asyncpg" in wanted) == (service != "delivery")
    assert wanted <= pinned


def test_an_image_runs_as_nobody_in_particular():
    recipe = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^USER (?!0|root)\S+", recipe, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", recipe, re.MULTILINE)
    assert "--require-hashes" in recipe
