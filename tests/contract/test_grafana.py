"""Dashboards ask for what there is, and Grafana finds them where it is told to look."""

import json
from pathlib import Path

import pytest
import yaml

from tests.contract.test_alerts import SERIES, assert_answerable
from tests.support.promql import series_in

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy/grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
#: What Grafana puts in the place of a word of its own, and of a variable.
SPOKEN = {"$__rate_interval": "1m", "$namespace": ".*", "$cell": ".*"}


def queries(board):
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for word, said in SPOKEN.items():
                query = query.replace(word, said)
            yield panel["title"], query


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_asks_for_what_there_is(name):
    for title, query in queries(BOARDS[name]):
        assert "$" not in query, title
        assert_answerable(query)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_asks_the_prometheus_that_is_chosen(name):
    [provided] = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text()
    )["datasources"]
    source, *others = BOARDS[name]["templating"]["list"]

    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert source["query"] == provided["type"]
    chosen = {"type": provided["type"], "uid": "${datasource}"}
    for panel in BOARDS[name]["panels"]:
        for part in (panel, *panel["targets"], *others):
            assert part["datasource"] == chosen


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_shows_the_houses_that_are_chosen(name):
    """All of them at first, and those whose series have no such label."""
    _, *variables = BOARDS[name]["templating"]["list"]

    assert [one["name"] for one in variables] == ["namespace", "cell"]
    for variable in variables:
        assert variable["current"]["value"] == ["$__all"]
        assert variable["allValue"] == ".*"
        asked = variable["query"]["query"].removeprefix("label_values(")
        query, label = asked.removesuffix(")").rsplit(", ", 1)
        assert label == variable["name"]
        assert_answerable(query.replace("$namespace", ".*"))
    for title, query in queries(BOARDS[name]):
        for series, labels in series_in(query):
            assert {"namespace", "cell"} <= labels, (title, series)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_names_and_room_of_their_own(name):
    board = BOARDS[name]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not mine & taken, panel["title"]
        assert all(x < 24 for x, _ in mine)
        taken |= mine
    for key in ("id", "title"):
        assert len({panel[key] for panel in board["panels"]}) == len(board["panels"])


def test_grafana_looks_where_they_are():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    [provider] = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/bellhop.yml").read_text()
    )["providers"]
    mounts = compose["services"]["grafana"]["volumes"]

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in mounts
    assert {board["uid"] for board in BOARDS.values()} == {
        f"bellhop-{name}" for name in BOARDS
    }
    assert {"overview", "delivery", "queues", "stores"} == {*BOARDS}


def test_what_an_operator_expects_is_shown():
    """Nothing is measured that nobody can look at; the contract's names are others'."""
    shown = {
        name
        for board in BOARDS.values()
        for _, query in queries(board)
        for name, _ in series_in(query)
    }
    hidden = {
        one.name
        for name, one in SERIES.items()
        if one.name.startswith("bellhop_") and not one.series & shown
    }

    assert hidden <= {
        "bellhop_delivery_reports_unanswered",
        "bellhop_grpc_calls_total",
        "bellhop_incoming_webhooks_total",
        "bellhop_jobs_claimed_total",
        "bellhop_jobs_expired_total",
        "bellhop_jobs_held_total",
        "bellhop_jobs_promoted_total",
        "bellhop_jobs_settled_total",
        "bellhop_jobs_woken_total",
        "bellhop_nats_jobs_total",
        "bellhop_replayed_total",
        "bellhop_retention_weeks_total",
        "bellhop_ssrf_allowed_total",
    }
