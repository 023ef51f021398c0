"""Alerts ask for what there is, each has its page, and they fire when they should."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from libs.cli.commands import TREE, Branch, Leaf
from tests.support.metrics import all_metrics
from tests.support.promql import kept_in, series_in

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
ALL = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
#: What Prometheus keeps for the alerts.
RECORDED = {rule["record"]: rule["expr"] for rule in ALL if "record" in rule}
PAGES = sorted((ROOT / "docs/runbooks").glob("*.md"))
#: What Prometheus itself puts to every series, or says of who is asked.
OF_PROMETHEUS = {"namespace", "cell", "service", "instance", "job", "le"}
SERIES = {name: one for one in all_metrics() for name in one.series}
SOURCES = "\n".join(
    path.read_text()
    for part in ("libs", "services")
    for path in (ROOT / part).rglob("*.py")
)


def name_of(alert):
    return alert["alert"]


def assert_answerable(query):
    """Every series of *query* is one that the code has, with the labels it names."""
    for name, labels in series_in(query):
        if name in RECORDED or name.startswith("process_"):
            continue
        assert name in SERIES, name
        assert labels <= {*SERIES[name].labels, *OF_PROMETHEUS}, (name, labels)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_an_alert_asks_for_what_there_is(alert):
    assert_answerable(alert["expr"])
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("query", RECORDED.values(), ids=RECORDED)
def test_what_is_kept_is_there(query):
    assert_answerable(query)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert", "record"))
def test_a_rule_is_of_one_house(rule):
    """Whatever is added up is so within a namespace and a cell, never over them."""
    assert all({"namespace", "cell"} <= kept for kept in kept_in(rule["expr"]))


def test_what_is_of_all_houses_is_noticed():
    query = "sum by (namespace, cell) (a) > 0 and max(b) > 0 or sum without (c) (d)"

    assert list(kept_in(query)) == [{"namespace", "cell"}, set(), set()]


@pytest.mark.parametrize(
    "query",
    ["bellhop_jobs_total", 'bellhop_deliveries_total{queue="a"}', "rate(", "1 +"],
)
def test_what_there_is_not_is_noticed(query):
    with pytest.raises((AssertionError, ValueError)):
        assert_answerable(query)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_an_alert_has_its_page(alert):
    page = ROOT / alert["annotations"]["runbook_url"]
    text = page.read_text()

    assert page in PAGES
    assert f"`{alert['alert']}`" in text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "What it means",
        "Look",
        "Do",
    ]


def test_every_page_is_of_one_alert():
    named = [ROOT / alert["annotations"]["runbook_url"] for alert in ALERTS]

    assert sorted(named) == PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_only_what_there_is(page):
    text = page.read_text()

    for command in re.findall(r"(?<!-n )\bbellhop ([a-z][^`;|#\n]*)", text):
        assert_command(command.split())
    for metric in re.findall(r"\bbellhop_[a-z_]+", text):
        assert metric in SERIES or metric in {one.name for one in SERIES.values()}
    for variable in re.findall(r"\bBELLHOP_[A-Z_]+", text):
        assert f"`{variable}`" in (ROOT / "docs/configuration.md").read_text()
    for event in re.findall(
        r"\b((?:actor|batch|bus|claim|loop|request|results|service)\.[a-z_]+)", text
    ):
        assert f'"{event}"' in SOURCES, event


def assert_command(words):
    name, *rest = words
    found = TREE[name]
    if isinstance(found, Branch):
        verb, *rest = rest
        found = found.leaves[verb]
    assert isinstance(found, Leaf)
    module, _, attribute = found.where.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    options = {
        name for one in command.params for name in (*one.opts, *one.secondary_opts)
    }
    assert {word for word in rest if word.startswith("--")} <= options, words


def test_kubernetes_has_the_same():
    rule = yaml.safe_load(
        (ROOT / "deploy/k8s/overlays/production/alerts.yaml").read_text()
    )

    assert rule["spec"] == RULES, "make alerts"


def test_where_the_pages_are_is_up_to_who_makes_them(tmp_path):
    rule = tmp_path / "alerts.yaml"
    shutil.copy(ROOT / "deploy/k8s/overlays/production/alerts.yaml", rule)
    words = (f"RULE={rule}", "RUNBOOKS=https://wiki.example/bellhop")
    subprocess.run(["make", "-s", "alerts", *words], cwd=ROOT, check=True)

    [group] = yaml.safe_load(rule.read_text())["spec"]["groups"]
    told = [one["annotations"] for one in group["rules"] if "alert" in one]
    assert len(told) == len(ALERTS)
    for annotations in told:
        page = annotations["runbook_url"].removeprefix("https://wiki.example/bellhop/")
        assert ROOT / "docs/runbooks" / page in PAGES


def test_each_fires_when_it_should_and_no_sooner():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of Prometheus, to play the alerts through")
    for check in (("check", "config", "--syntax-only", "prometheus.yml"),):
        subprocess.run([promtool, *check], cwd=PROMETHEUS, check=True)
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml", "alerts_day_test.yml"],
        cwd=PROMETHEUS,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_is_played_through_both_ways():
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    checks = [one for test in tests for one in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}

    assert {one["alertname"] for one in checks if one.get("exp_alerts")} == names
    assert {one["alertname"] for one in checks if not one.get("exp_alerts")} == names
