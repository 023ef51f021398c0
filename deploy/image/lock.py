# ruff: noqa: INP001 - a script of the image, no package
"""What an image installs: one service's group, at the pins of constraints.txt.

Steps of the Dockerfile, because pip takes hashes only with an exact list::

    lock.py wanted <service>    what pyproject.toml asks for this service
    lock.py pins                the pinned versions alone, for pip to choose from
    lock.py locked <report>     what pip chose, with the hashes to check it by
    lock.py sbom <report> <name> <version>
                                what pip chose, as CycloneDX says what is inside

Run by the Python of the image, without anything installed.
"""

import json
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_NAME = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def wanted(pyproject: dict[str, Any], service: str) -> list[str]:
    """Return the requirements that every service has, and those of *service*."""
    project = pyproject["project"]
    return [*project["dependencies"], *project["optional-dependencies"][service]]


def blocks(constraints: str) -> dict[str, str]:
    """Return the pins by name, each with the hashes that stand under it."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", constraints.strip()):
        if match := _NAME.match(block):
            found[_plain(match[1])] = block
    return found


def locked(report: dict[str, Any], constraints: str) -> list[str]:
    """Return the pins of what pip chose; raises `KeyError` for what is not pinned."""
    pins = blocks(constraints)
    return [pins[_plain(item["metadata"]["name"])] for item in report["install"]]


def sbom(report: dict[str, Any], name: str, version: str) -> dict[str, Any]:
    """Return what pip chose for *name* as a CycloneDX 1.6 document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "application", "name": name, "version": version},
        },
        "components": [_component(item) for item in report["install"]],
    }


def _component(item: dict[str, Any]) -> dict[str, Any]:
    """Return one package of pip's report, with the hash of the file it came in."""
    metadata = item["metadata"]
    name, version = _plain(metadata["name"]), metadata["version"]
    purl = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [
            {
                "alg": "SHA-256",
                "content": item["download_info"]["archive_info"]["hashes"]["sha256"],
            }
        ],
    }
    if expression := metadata.get("license_expression"):
        found["licenses"] = [{"expression": expression}]
    return found


def _plain(name: str) -> str:
    """Return a package's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Print the lines that are asked for."""
    constraints = Path("constraints.txt").read_text("utf-8")
    match arguments:
        case ["wanted", service]:
            text = Path("pyproject.toml").read_text("utf-8")
            lines = wanted(tomllib.loads(text), service)
        case ["pins"]:
            lines = [
                match[0]
                for block in blocks(constraints).values()
                if (match := _NAME.match(block))
            ]
        case ["locked", report]:
            chosen = json.loads(Path(report).read_text("utf-8"))
            lines = locked(chosen, constraints)
        case ["sbom", report, name, version]:
            chosen = json.loads(Path(report).read_text("utf-8"))
            lines = [json.dumps(sbom(chosen, name, version), indent=1)]
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
