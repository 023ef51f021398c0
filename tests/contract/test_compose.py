"""What docker-compose.yml promises the services, read as Docker would read it."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")


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
        "prometheus",
        "grafana",
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
    images = {
        one["image"] for one in compose()["services"].values() if "build" not in one
    }

    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images


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
    assert [
        name
        for name in SERVICES
        if open_ones & set(services[name]["networks"]) and name != "delivery"
    ] == []


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
    required = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))
    offered = set(re.findall(r"^(\w+)=", example, re.MULTILINE))

    assert required <= offered <= required | optional


def test_nats_takes_a_batch_in_one_message():
    text = (ROOT / "deploy/nats/bellhop.conf").read_text()

    assert "max_payload: 8MB" in text
    assert "jetstream {" in text
