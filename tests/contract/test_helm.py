"""The chart is made of the manifests, and what it renders keeps to the same rules.

Templates are filled in here, which their few forms allow; and by ``helm`` itself where
that is at hand.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.contract.test_kubernetes import breaches, documents, faults, pods

HELM = Path(__file__).parents[2] / "deploy/helm"
CHART = HELM / "bellhop"
SECRETS = {
    "DATABASE_URL": "postgresql://bellhop:x@database.example/bellhop",
    **{
        f"NATS_{name}_URL": f"nats://{name.lower()}:x@nats.example"
        for name in ("INGEST", "DISPATCHER", "DELIVERY", "SCHEDULER", "STREAMER")
    },
    "BELLHOP_SECRET_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "BELLHOP_TOKEN_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}
CHANGES = {
    "nothing": {},
    "everything": {
        "image": {"repository": "registry.example:5000/team", "tag": "9.8.7"},
        "secret": {"name": "mine", "create": True, "data": SECRETS},
        "ingest": {"autoscaling": {"enabled": False}, "replicas": 4},
        "dispatcher": {"replicas": 3},
        "delivery": {"autoscaling": {"enabled": True, "maxReplicas": 9}},
        "ingress": {"enabled": True, "rest": {"host": "a.example", "tls": []}},
        "gateway": {"enabled": True},
        "networkPolicy": {"nats": {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}},
        "monitoring": {"enabled": True, "alerts": True},
    },
    "little": {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "gateway": {"enabled": True, "create": False},
        "networkPolicy": {"enabled": False},
    },
}
LINE = re.compile(r"^\{\{- (if (?P<condition>.+)|end) \}\}$")


def values_with(change):
    def merged(old, new):
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        return old | {key: merged(old.get(key), part) for key, part in new.items()}

    return merged(yaml.safe_load((CHART / "values.yaml").read_text()), change)


class Filling:
    """Fills in the forms that deploy/helm/make.py writes, and no others."""

    def __init__(self, values):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.known = {
            "Values": values,
            "Chart": {"Version": chart["version"], "AppVersion": chart["appVersion"]},
            "Release": {"Service": "Helm", "Namespace": "bellhop"},
        }

    def word(self, word):
        if word.startswith('"'):
            return json.loads(word)
        if not word.startswith("."):
            return int(word)
        found = self.known
        for part in word[1:].split("."):
            found = found[part]
        return found

    def expression(self, text):
        value: Any = None
        for place, stage in enumerate(text.split(" | ")):
            name, *words = stage.split()
            given = [self.word(word) for word in words]
            given += [value] if place else []
            match name:
                case "toJson" | "quote":
                    value = json.dumps(given[0])
                case "list":
                    value = given
                case "sha256sum":
                    value = hashlib.sha256(given[0].encode()).hexdigest()
                case "trunc":
                    value = given[1][: given[0]]
                case "default":
                    value = given[1] or given[0]
                case _:
                    value = self.word(name)
        return str(value)

    def holds(self, condition):
        first, *rest = condition.split()
        if first == "not":
            return not self.word(rest[0])
        if first == "and":
            return all(self.word(word) for word in rest)
        return bool(self.word(first))

    def text(self, template):
        told, open_ = [], []
        for line in template.splitlines():
            form = LINE.match(line.strip())
            if form and form["condition"]:
                open_.append(self.holds(form["condition"]))
            elif form:
                open_.pop()
            elif all(open_):
                told.append(
                    re.sub(
                        r"\{\{ (.*?) \}\}(?!\")",
                        lambda found: self.expression(found[1]),
                        line,
                    )
                )
        assert not open_
        return "\n".join(told)


def filled_here(values, directory):
    filling = Filling(values)
    return [
        document
        for template in sorted((CHART / "templates").glob("*.yaml"))
        for document in documents(filling.text(template.read_text()))
    ]


def helm(*arguments):
    program = shutil.which("helm")
    if program is None:
        pytest.skip("needs helm, to render the chart as those who install it do")
    return subprocess.run(
        [program, *arguments], capture_output=True, check=False, text=True
    )


def filled_by_helm(values, directory):
    path = directory / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    done = helm(
        "template", "bellhop", CHART, "--kube-version", "1.31", "--values", path
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.fixture(params=[filled_here, filled_by_helm])
def rendered(request, tmp_path):
    return lambda change: request.param(values_with(change), tmp_path)


def names(found):
    return {(document["kind"], document["metadata"]["name"]) for document in found}


def test_the_chart_is_what_the_manifests_make(tmp_path):
    place = tmp_path / "bellhop"
    subprocess.run([sys.executable, HELM / "make.py", place], check=True)

    def read(root):
        return {
            path.relative_to(root): path.read_text()
            for path in root.rglob("*")
            if path.is_file()
        }

    assert read(CHART) == read(place), "`make helm` makes it anew"


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_rendered_has_its_shape_and_keeps_to_our_policy(rendered, change):
    found = rendered(CHANGES[change])

    assert [fault for document in found for fault in faults(document)] == []
    assert list(breaches(found)) == []
    assert len(list(pods(found))) == 6
    assert len(names(found)) == len(found)


def test_by_default_it_is_the_base_without_its_doors(rendered):
    base = HELM.parent / "k8s/base"
    applied = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    wanted = {
        (kind, name)
        for resource in applied
        for kind, name in names(documents((base / resource).read_text()))
        if kind not in {"Namespace", "Ingress", "Job"}
    }
    found = names(rendered({}))

    assert {one for one in found if one[0] != "Job"} == {
        *wanted,
        ("ConfigMap", "bellhop"),
    }


def test_what_is_said_is_done(rendered):
    found = {
        (document["kind"], document["metadata"]["name"]): document
        for document in rendered(CHANGES["everything"])
    }

    assert found["Secret", "mine"]["stringData"] == SECRETS
    assert ("HorizontalPodAutoscaler", "ingest") not in found
    assert found["Deployment", "ingest"]["spec"]["replicas"] == 4
    assert found["Deployment", "dispatcher"]["spec"]["replicas"] == 3
    assert "replicas" not in found["Deployment", "delivery"]["spec"]
    assert found["ScaledObject", "delivery"]["spec"]["maxReplicaCount"] == 9
    for (_, name), pod in (
        ((document["kind"], document["metadata"]["name"]), pod)
        for document, pod in pods(found.values())
    ):
        image = "ingest" if name.startswith("migrate-") else name
        [container] = pod["containers"]
        assert container["image"] == f"registry.example:5000/team/{image}:9.8.7"
        for variable in container["env"]:
            if "valueFrom" in variable:
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "mine"
    [rest] = found["Ingress", "bellhop"]["spec"]["rules"]
    assert rest["host"] == "a.example"
    egress, *_ = found["NetworkPolicy", "delivery"]["spec"]["egress"]
    assert egress["to"] == [{"ipBlock": {"cidr": "10.1.2.3/32"}}]
    rules = found["PrometheusRule", "bellhop"]["spec"]["groups"][0]["rules"]
    assert any("{{ $value }}" in rule["annotations"]["summary"] for rule in rules)


def test_what_is_left_out_is_not_there(rendered):
    found = names(rendered(CHANGES["little"]))

    assert {kind for kind, _ in found}.isdisjoint({"NetworkPolicy", "Gateway"})
    assert ("HTTPRoute", "bellhop") in found


def test_each_change_makes_another_job_and_none_is_a_hook(rendered):
    def job(change):
        [found] = [one for one in rendered(change) if one["kind"] == "Job"]
        assert "annotations" not in found["metadata"]
        return found["metadata"]["name"]

    assert job({}) == job({}) != job({"image": {"tag": "9.8.7"}})


@pytest.mark.parametrize(
    "change",
    [
        {"ingest": {"replica": 2}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"dispatcher": {"replicas": 0}},
        {"secret": {"create": True}},
        {"secret": {"create": True, "data": {"DATABASE_URL": "postgresql://x"}}},
        {"settings": {"BELLHOP_DRAIN_SECONDS": 25}},
    ],
)
def test_values_that_are_wrong_are_refused(change):
    shape = json.loads((CHART / "values.schema.json").read_text())

    assert jsonschema_rs.is_valid(shape, values_with({}))
    assert not jsonschema_rs.is_valid(shape, values_with(change))


def test_helm_finds_no_fault():
    done = helm("lint", "--strict", CHART)

    assert done.returncode == 0, done.stdout
