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
from collections.abc import Callable
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
OPENSHIFT = {
    "namespaceSelector": {
        "matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}
    }
}
CHANGES = {
    "nothing": {},
    "everything": {
        "image": {"repository": "registry.example:5000/team", "tag": "9.8.7"},
        "secret": {"name": "mine", "create": True, "data": SECRETS},
        "ingest": {
            "autoscaling": {"enabled": False},
            "replicas": 4,
            "trustedProxyHops": 2,
            "extraEnv": [
                {"name": "BELLHOP_SMTP_HOST", "value": "mail.example"},
                {"name": "BELLHOP_MAIL_FROM", "value": "bell@example"},
            ],
        },
        "dispatcher": {"replicas": 3},
        "delivery": {"autoscaling": {"enabled": True, "maxReplicas": 9}},
        "ingress": {"enabled": True, "rest": {"host": "a.example", "tls": []}},
        "gateway": {"enabled": True},
        "networkPolicy": {
            "nats": {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
            "dns": {"to": [OPENSHIFT], "ports": [{"protocol": "UDP", "port": 5353}]},
            "collector": {"to": [{"ipBlock": {"cidr": "10.1.2.4/32"}}]},
        },
        "monitoring": {
            "enabled": True,
            "alerts": True,
            "labels": {"release": "prometheus"},
            "token": True,
            "runbooks": "https://wiki.example/bellhop",
        },
    },
    "little": {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "gateway": {"enabled": True, "create": False},
        "networkPolicy": {"enabled": False},
    },
}
#: What templates call, as Helm has it: what is piped comes last.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "toJson": json.dumps,
    "quote": lambda given: json.dumps(str(given)),
    "list": lambda *given: list(given),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "trunc": lambda length, text: text[:length],
    "default": lambda otherwise, given: given or otherwise,
    "ternary": lambda yes, no, so: yes if so else no,
    "printf": lambda form, given: form % given,
    "coalesce": lambda *given: next(one for one in given if one),
}
LINE = re.compile(
    r"^\{\{- (if (?P<condition>.+)|range \$key, \$value := (?P<items>.+)|end) \}\}$"
)


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
        if word.startswith("$"):
            return self.known[word]
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
            does = FUNCTIONS.get(name)
            value = does(*given) if does else self.word(name)
        return str(value)

    def holds(self, condition):
        first, *rest = condition.split()
        if first == "not":
            return not self.word(rest[0])
        if first in {"and", "or"}:
            found = [bool(self.word(word)) for word in rest]
            return all(found) if first == "and" else any(found)
        return bool(self.word(first))

    def line(self, line):
        return re.sub(
            r"\{\{ (.*?) \}\}(?!\")", lambda found: self.expression(found[1]), line
        )

    def repeated(self, items, line):
        """Fill *line* in once for each of *items*."""
        entries = items.items() if isinstance(items, dict) else enumerate(items)
        for key, value in entries:
            self.known |= {"$key": key, "$value": value}
            yield self.line(line)

    def text(self, template):
        told: list[str] = []
        open_: list[bool] = []
        lines = iter(template.splitlines())
        for line in lines:
            form = LINE.match(line.strip())
            if form and form["condition"]:
                open_.append(self.holds(form["condition"]))
            elif form and form["items"]:
                repeated = self.repeated(self.word(form["items"]), next(lines))
                told += repeated if all(open_) else ()
                assert next(lines).strip() == "{{- end }}"
            elif form:
                open_.pop()
            elif all(open_):
                told.append(self.line(line))
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
    [names] = found["NetworkPolicy", "everything"]["spec"]["egress"]
    assert names == {"to": [OPENSHIFT], "ports": [{"protocol": "UDP", "port": 5353}]}
    [spans] = found["NetworkPolicy", "collector"]["spec"]["egress"]
    assert spans["to"] == [{"ipBlock": {"cidr": "10.1.2.4/32"}}]


def test_what_is_said_of_monitoring_is_done(rendered):
    found = {
        document["kind"]: document
        for document in rendered(CHANGES["everything"])
        if document["kind"] in {"ServiceMonitor", "PrometheusRule"}
    }
    [endpoint] = found["ServiceMonitor"]["spec"]["endpoints"]
    rules = found["PrometheusRule"]["spec"]["groups"][0]["rules"]
    told = [rule["annotations"] for rule in rules if "alert" in rule]

    assert {one["metadata"]["labels"]["release"] for one in found.values()} == {
        "prometheus"
    }
    assert endpoint["authorization"]["credentials"]["name"] == "mine"
    assert any("{{ $value }}" in one["summary"] for one in told)
    assert {one["runbook_url"].rsplit("/", 1)[0] for one in told} == {
        "https://wiki.example/bellhop"
    }


def test_a_token_that_nobody_has_is_not_asked_for(rendered):
    [monitor] = [
        document
        for document in rendered({"monitoring": {"enabled": True}})
        if document["kind"] == "ServiceMonitor"
    ]
    [endpoint] = monitor["spec"]["endpoints"]

    assert "authorization" not in endpoint


@pytest.mark.parametrize(
    ("change", "url"),
    [
        ({}, None),
        ({"gateway": {"enabled": True, "rest": {"host": "a.example"}}}, "a.example"),
        ({"ingress": {"enabled": True, "rest": {"host": "b.example"}}}, "b.example"),
        (
            {
                "gateway": {"enabled": True},
                "ingest": {"externalUrl": "https://c.example"},
            },
            "c.example",
        ),
    ],
)
def test_ingest_is_told_where_the_outside_reaches_it(rendered, change, url):
    told = environment_of("ingest", rendered(change))

    assert told["BELLHOP_EXTERNAL_URL"] == (url and f"https://{url}")
    assert told["BELLHOP_TRUSTED_PROXY_HOPS"] == "1"


def test_a_service_is_told_what_else_it_should_know(rendered):
    found = rendered(CHANGES["everything"])

    told = environment_of("ingest", found)
    assert told["BELLHOP_TRUSTED_PROXY_HOPS"] == "2"
    assert told["BELLHOP_SMTP_HOST"] == "mail.example"
    assert told["BELLHOP_MAIL_FROM"] == "bell@example"
    assert "BELLHOP_SMTP_HOST" not in environment_of("delivery", found)


def environment_of(service, found):
    """What a service's container is given in so many words."""
    [pod] = [
        pod for document, pod in pods(found) if document["metadata"]["name"] == service
    ]
    [container] = pod["containers"]
    return {one["name"]: one.get("value") for one in container["env"]}


def test_what_is_left_out_is_not_there(rendered):
    found = names(rendered(CHANGES["little"]))

    assert {kind for kind, _ in found}.isdisjoint({"NetworkPolicy", "Gateway"})
    assert ("HTTPRoute", "bellhop") in found


def test_each_change_makes_another_job_and_none_is_a_hook(rendered):
    def job(change):
        [found] = [one for one in rendered(change) if one["kind"] == "Job"]
        assert "hook" not in str(found["metadata"])
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
        {"ingest": {"trustedProxyHops": -1}},
        {"ingest": {"externalUrl": "bellhop.example.com"}},
        {"monitoring": {"labels": {"release": 1}}},
    ],
)
def test_values_that_are_wrong_are_refused(change):
    shape = json.loads((CHART / "values.schema.json").read_text())

    assert jsonschema_rs.is_valid(shape, values_with({}))
    assert not jsonschema_rs.is_valid(shape, values_with(change))


def test_helm_finds_no_fault():
    done = helm("lint", "--strict", CHART)

    assert done.returncode == 0, done.stdout
