"""A release has one number, said once and equal wherever it has to stand."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / ".ci/release.py"
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


def test_the_workflow_of_a_release_only_asks_for_what_it_needs():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    jobs = workflow["jobs"]

    assert workflow["permissions"] == {"contents": "read"}
    # `on` is true to YAML 1.1.
    assert workflow[True]["push"] == {"tags": ["v*"]}
    assert jobs["images"]["needs"] == "check"
    services = set(jobs["images"]["strategy"]["matrix"]["service"])
    assert services == {
        path.parent.name for path in ROOT.glob("services/*/__main__.py")
    }
    assert set(jobs["release"]["needs"]) == {"check", "images", "chart"}
