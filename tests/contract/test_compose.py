"""What docker-compose.yml promises the services, read as Docker would read it."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from libs.cli.settings import StackSettings

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
#: Whose images are made here.
OURS = {*SERVICES, "migrate", "tools"}
DOCKER = shutil.which("docker")


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_runs_the_house():
    services = compose()["services"]

    assert {name for name, one in services.items() if "profiles" not in one} == {
        *SERVICES,
        *("postgres", "nats", "migrate", "gateway"),
    }
    for service in SERVICES:
        assert services[service]["build"] == {
            "context": ".",
            "args": {"SERVICE": service},
        }
        drain = float(services[service]["environment"]["BELLHOP_DRAIN_SECONDS"])
        assert services[service]["stop_grace_period"] == f"{drain + 5:.0f}s"


def test_compose_measures_when_it_is_asked_to():
    services = compose()["services"]

    assert {name for name, one in services.items() if "profiles" in one} == {
        *("prometheus", "grafana", "tools")
    }
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [job] = scraped["scrape_configs"]
    assert job["dns_sd_configs"] == [
        {"names": list(SERVICES), "type": "A", "port": 9090}
    ]
    # Where Prometheus finds them all.
    assert "bus" in services["prometheus"]["networks"]
    assert all("bus" in services[service]["networks"] for service in SERVICES)


def test_compose_runs_nothing_that_may_be_another_tomorrow():
    services = compose()["services"]
    images = {one["image"] for name, one in services.items() if name not in OURS}

    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images


def test_what_is_made_here_is_made_once_and_never_pulled():
    services = compose()["services"]
    built = [one["image"] for one in services.values() if "build" in one]

    assert sorted(built) == sorted(f"bellhop/{name}" for name in (*SERVICES, "tools"))
    assert {services[name]["image"] for name in OURS} == set(built)
    assert {services[name]["pull_policy"] for name in OURS} == {"never"}
    assert services["tools"]["build"]["target"] == "tools"


def test_nobody_gains_rights():
    for name, one in compose()["services"].items():
        assert one["security_opt"] == ["no-new-privileges:true"], name


def test_a_service_can_be_told_more_than_compose_says():
    services = compose()["services"]
    everybodys = {"path": "bellhop.env", "required": False}
    own = {"path": "ingest.env", "required": False}
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert services["ingest"]["env_file"] == [everybodys, own]
    for name in set(SERVICES) - {"ingest"}:
        assert services[name]["env_file"] == [everybodys]
    assert {"bellhop.env", "ingest.env", ".env", "backups/"} <= set(ignored)


def test_the_tools_reach_what_they_look_at():
    tools = compose()["services"]["tools"]
    known = {
        field.validation_alias or f"BELLHOP_{name.upper()}"
        for name, field in StackSettings.model_fields.items()
    }

    # Which Bellhop is asked is an option of the commands, and no setting.
    assert set(tools["environment"]) - known == {"BELLHOP_URL"}
    assert set(tools["networks"]) == {"data", "bus", "inside"}
    assert "depends_on" not in tools
    assert tools["volumes"] == ["./backups:/backups"]


def test_grafana_takes_no_password_of_its_own():
    grafana = compose()["services"]["grafana"]
    asked = [part.replace("$$", "$") for part in grafana["entrypoint"]]
    asked[-1] = asked[-1].replace("/run.sh", "true")

    for password, code in (("", False), ("hush", True)):
        given = {"GF_SECURITY_ADMIN_PASSWORD": password, "PATH": os.defpath}
        done = subprocess.run(asked, env=given, check=False, capture_output=True)
        assert (done.returncode == 0) == code
    assert grafana["ports"] == ["${GRAFANA_BIND:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000"]


def test_each_service_is_its_own_user_of_nats():
    services = compose()["services"]
    users = (ROOT / "deploy/nats/users.conf").read_text()

    for service in SERVICES:
        password = f"NATS_{service.upper()}_PASSWORD"
        url = services[service]["environment"]["NATS_URL"]
        assert url == f"nats://{service}:${{{password}:?see .env.example}}@nats:4222"
        assert f"user: {service}, password: ${password}" in users
        assert password in services["nats"]["environment"]


def test_compose_has_one_door():
    services = compose()["services"]
    doors = {name for name, one in services.items() if "ports" in one}

    assert doors == {"gateway", "grafana"}
    configuration = (ROOT / "deploy/gateway/nginx.conf").read_text()
    for service, port in (("ingest", "HTTP"), ("streamer", "HTTP"), ("ingest", "GRPC")):
        listens = services[service]["environment"][f"BELLHOP_{port}_PORT"]
        scheme = {"HTTP": "http", "GRPC": "grpc"}[port]
        assert f"{scheme}://{service}:{listens};" in configuration
        assert "inside" in services[service]["networks"]
    networks = compose()["networks"]
    open_ones = {name for name, one in networks.items() if not one.get("internal")}
    # Delivery for webhooks, ingest for mail.
    assert {
        name for name in SERVICES if open_ones & set(services[name]["networks"])
    } == {"delivery", "ingest"}


def test_the_gateway_leads_where_the_routes_are():
    """Ingest has every route but the streamer's."""
    configuration = (ROOT / "deploy/gateway/nginx.conf").read_text()
    streams, pages = re.findall(r"location ~ (\S+) \{", configuration)
    for path in ("events", "events/queues/mail", "events/jobs/1", "ws"):
        assert re.search(streams, f"/api/v1/{path}")
    for path in ("eventsome", "jobs", "ws/x", "workers"):
        assert not re.search(streams, f"/api/v1/{path}")
    for path in ("/", "/dashboard", "/dashboard/", "/dashboard/assets/x.js"):
        assert re.search(pages, path)
    for path in ("/docs", "/dashboards", "/api/v1/dashboard", "/health/ready"):
        assert not re.search(pages, path)


def test_every_variable_of_compose_stands_in_the_example():
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    # $${ is for a shell inside.
    required = set(re.findall(r"(?<!\$)\$\{(\w+):\?", text))
    optional = set(re.findall(r"(?<!\$)\$\{(\w+):-", text))
    offered = set(re.findall(r"^(\w+)=", example, re.MULTILINE))

    assert required <= offered <= required | optional


def filled_example():
    """The example with every secret filled in, as the variables it gives."""
    example = (ROOT / ".env.example").read_text()
    key = base64.b64encode(bytes(32)).decode()
    return {
        name: value or (key if name.endswith("_KEY") else "x1")
        for name, value in re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE)
    }


def test_docker_compose_reads_it(tmp_path):
    plugin = [DOCKER or "docker", "compose"]
    if DOCKER is None or subprocess.run([*plugin, "version"], check=False).returncode:
        pytest.skip("needs docker compose")
    filled = filled_example()
    given = tmp_path / "env"
    given.write_text("".join(f"{name}={value}\n" for name, value in filled.items()))
    # What the environment says would count for more.
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in filled and not name.startswith("COMPOSE_")
    }
    profiles = ("--profile", "monitoring", "--profile", "tools")

    done = subprocess.run(
        [*plugin, "--env-file", given, *profiles, "config", "--quiet"],
        cwd=ROOT,
        env=surroundings,
        check=False,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_nats_takes_a_batch_in_one_message():
    text = (ROOT / "deploy/nats/bellhop.conf").read_text()

    assert "max_payload: 8MB" in text
    assert "jetstream {" in text
