"""A release has one number, said once and equal wherever it has to stand."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / ".ci/release.py"
WORKFLOWS = ROOT / ".github/workflows"
VALUES = "deploy/helm/bellhop/values.yaml"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def release(*words, tree=ROOT):
    return subprocess.run(
        [sys.executable, RELEASE, *words, "--tree", tree],
        capture_output=True,
        check=False,
        text=True,
    )


@pytest.fixture
def tree(tmp_path):
    """A copy of what has the number in it."""
    listed = release("places")
    assert listed.returncode == 0, listed.stderr
    for name in listed.stdout.split():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text((ROOT / name).read_text())
    return tmp_path


def test_every_place_says_the_same_number():
    done = release("check", VERSION)

    assert done.returncode == 0, done.stderr
    chart = yaml.safe_load((ROOT / "deploy/helm/bellhop/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    base = ROOT / "deploy/k8s/base"
    applied = yaml.safe_load((base / "kustomization.yaml").read_text())
    assert {image["newTag"] for image in applied["images"]} == {VERSION}
    [job] = yaml.safe_load_all((base / "migrate.yaml").read_text())
    assert job["metadata"]["name"] == f"migrate-{VERSION.replace('.', '-')}"


def test_a_new_number_stands_everywhere_and_the_changelog_begins_anew(tree):
    done = release("bump", "9.8.7", "--on", "2031-02-03", tree=tree)

    assert done.returncode == 0, done.stderr
    assert release("check", "9.8.7", tree=tree).returncode == 0
    assert release("check", VERSION, tree=tree).returncode == 1
    assert "## [9.8.7] - 2031-02-03" in (tree / "CHANGELOG.md").read_text()
    notes = release("notes", "9.8.7", tree=tree).stdout
    assert notes.startswith("The first version." if VERSION == "0.1.0" else "###")
    assert "## [" not in notes


@pytest.mark.parametrize("number", ["1.2", "v1.2.3", "01.2.3", "0.0.9", "1.2.3+x"])
def test_a_number_that_is_none_or_not_later_is_refused(tree, number):
    done = release("bump", number, tree=tree)

    assert done.returncode == 1
    assert number in done.stderr


def test_a_place_that_says_another_is_found(tree):
    path = tree / "deploy/k8s/base/migrate.yaml"
    path.write_text(path.read_text().replace("migrate-", "migrate-7-"))

    done = release("check", VERSION, tree=tree)

    assert done.returncode == 1
    assert "migrate.yaml" in done.stderr


def test_the_chart_that_is_published_knows_where_the_images_are(tree):
    values = tree / VALUES
    values.parent.mkdir(parents=True, exist_ok=True)
    values.write_text((ROOT / VALUES).read_text())
    before = yaml.safe_load(values.read_text())

    done = release("images", "ghcr.io/us/bellhop", tree=tree)

    assert done.returncode == 0, done.stderr
    after = yaml.safe_load(values.read_text())
    assert after["image"].pop("repository") == "ghcr.io/us/bellhop"
    del before["image"]["repository"]
    assert after == before


@pytest.mark.parametrize("repository", ["", "bellhop", "ghcr.io/Us/bellhop", "a b/c"])
def test_where_images_cannot_be_is_refused(tree, repository):
    values = tree / VALUES
    values.parent.mkdir(parents=True, exist_ok=True)
    values.write_text("image:\n  repository: bellhop\n")

    assert release("images", repository, tree=tree).returncode == 1
    assert values.read_text() == "image:\n  repository: bellhop\n"


def test_the_workflow_of_a_release_only_asks_for_what_it_needs():
    workflow = yaml.safe_load((WORKFLOWS / "release.yml").read_text())
    jobs = workflow["jobs"]

    assert workflow["permissions"] == {"contents": "read"}
    # `on` is true to YAML 1.1.
    assert workflow[True]["push"] == {"tags": ["v*"]}
    assert jobs["check"] == {"needs": "number", "uses": "./.github/workflows/ci.yml"}
    # A chart without its images is of no use to anybody.
    assert jobs["images"]["needs"] == ["number", "check"]
    assert jobs["chart"]["needs"] == ["check", "images"]
    matrix = jobs["images"]["strategy"]["matrix"]
    assert set(matrix["service"]) == {
        path.parent.name for path in ROOT.glob("services/*/__main__.py")
    }
    assert matrix["target"] == ["service"]
    assert matrix["include"] == [{"target": "tools", "service": "tools"}]
    assert set(jobs["release"]["needs"]) == {"check", "images", "chart"}


def test_what_a_release_is_tested_with_leaves_nothing_out():
    workflow = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())
    jobs = workflow["jobs"]
    [checkout, *_] = jobs["check"]["steps"]
    told = " ".join(step.get("run", "") for step in jobs["check"]["steps"])

    assert "workflow_call" in workflow[True]
    # The test of an upgrade needs the history, others need programs.
    assert checkout["with"] == {"fetch-depth": 0}
    assert {"prometheus", "nginx-core"} <= set(told.split())
    assert jobs["compose"]["steps"][-1] == {"run": ".ci/compose"}


def test_actions_cannot_become_others():
    used = [
        line.partition("uses: ")[2]
        for path in WORKFLOWS.glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses: " in line and "uses: ./" not in line
    ]

    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
