"""The number of a release, put everywhere or checked; and where its images are.

python .ci/release.py bump 0.2.0      # writes it, and dates the changelog's section
python .ci/release.py check 0.2.0     # ends with 1 where another stands
python .ci/release.py notes 0.2.0     # the changelog's section, for whoever publishes
python .ci/release.py places          # the files that hold it
python .ci/release.py images ghcr.io/us/bellhop     # into the chart that is published
"""

import argparse
import datetime as dt
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NUMBER: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
#: Where it stands, with NUMBER in its place, and how often.
PLACES: Final = {
    "pyproject.toml": (r'(?m)^version = "(NUMBER)"$', 1),
    "libs/common/version.py": (r'VERSION: Final = "(NUMBER)"', 1),
    "deploy/k8s/base/kustomization.yaml": (r"newTag: (NUMBER)\}", 5),
    "deploy/k8s/base/migrate.yaml": (r"name: migrate-(DASHED)\n", 1),
    "deploy/k8s/components/tools/kustomization.yaml": (r"newTag: (NUMBER)\}", 1),
    "deploy/helm/bellhop/Chart.yaml": (r'ersion: "?(NUMBER)"?\n', 2),
}
CHANGELOG: Final = "CHANGELOG.md"
VALUES: Final = "deploy/helm/bellhop/values.yaml"
UNRELEASED: Final = "Unreleased"


class Wrong(Exception):  # noqa: N818 - what is wrong
    """The tree, or what was asked for, is not fit for a release."""


def pattern_of(place: str) -> re.Pattern[str]:
    """Return what finds the number in a place."""
    text = PLACES[place][0]
    text = text.replace("NUMBER", r"\d+\.\d+\.\d+").replace("DASHED", r"\d+-\d+-\d+")
    return re.compile(text)


def found_in(tree: Path, place: str) -> list[str]:
    """Return the numbers that stand in a place."""
    text = (tree / place).read_text()
    return [number.replace("-", ".") for number in pattern_of(place).findall(text)]


def check(tree: Path, number: str) -> None:
    """Raise `Wrong` unless *number* stands everywhere, and in the changelog."""
    wrong = [
        f"{place}: {found_in(tree, place)}, and not {number} {times} times"
        for place, (_, times) in PLACES.items()
        if found_in(tree, place) != [number] * times
    ]
    if not re.search(rf"(?m)^## \[{re.escape(number)}\] - ", changelog(tree)):
        wrong.append(f"{CHANGELOG}: no section [{number}]")
    if wrong:
        raise Wrong("\n".join(wrong))


def changelog(tree: Path) -> str:
    """Return the changelog."""
    return (tree / CHANGELOG).read_text()


def bump(tree: Path, number: str, on: str) -> None:
    """Write *number* everywhere, and *on* into the changelog as its day.

    The newest section becomes the release: it has to be called Unreleased, or to be
    dated so.  Raises `Wrong` when *number* is none, or is not later than what is there.
    """
    if not NUMBER.fullmatch(number):
        raise Wrong(f"{number}: is no version, as 1.2.3 is one")
    [before] = found_in(tree, "pyproject.toml")
    text = changelog(tree)
    head = re.search(r"(?m)^## \[([^\]]+)\](?: - (\S+))?$", text)
    if head is None or UNRELEASED not in head.groups():
        raise Wrong(f"{CHANGELOG}: its newest section is not {UNRELEASED}")
    first = head[1] == before
    if as_numbers(number) < as_numbers(before) or (number == before and not first):
        raise Wrong(f"{number}: is not later than {before}")
    for place in PLACES:
        path = tree / place
        path.write_text(
            pattern_of(place).sub(
                lambda found, place=place: found[0].replace(
                    found[1],
                    number.replace(".", "-")
                    if "DASHED" in PLACES[place][0]
                    else number,
                ),
                path.read_text(),
            )
        )
    (tree / CHANGELOG).write_text(
        f"{text[: head.start()]}## [{number}] - {on}{text[head.end() :]}"
    )
    check(tree, number)


def name_images(tree: Path, repository: str) -> None:
    """Let the chart take its images from *repository*; raises `Wrong`.

    In the tree it names none, and so would fetch what a stranger calls ``bellhop``.
    """
    path = tree / VALUES
    text, times = re.subn(
        r"(?m)^(image:\n  repository: ).*$", rf"\g<1>{repository}", path.read_text()
    )
    if times != 1 or not re.fullmatch(r"[a-z0-9.:-]+(/[a-z0-9._-]+)+", repository):
        raise Wrong(f"{VALUES}: {repository} is no repository, or there is no place")
    path.write_text(text)


def as_numbers(version: str) -> tuple[int, ...]:
    """Return a version as what can be compared."""
    return tuple(int(part) for part in version.split("."))


def notes(tree: Path, number: str) -> str:
    """Return the changelog's section on *number*; raises `Wrong` without one."""
    section = re.search(
        rf"(?ms)^## \[{re.escape(number)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog(tree)
    )
    if section is None:
        raise Wrong(f"{CHANGELOG}: no section [{number}]")
    return section[1].strip() + "\n"


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("deed", choices=["bump", "check", "notes", "places", "images"])
    parser.add_argument("number", nargs="?", default="", help="or the repository")
    today = dt.datetime.now(dt.UTC).date().isoformat()
    parser.add_argument("--on", default=today, help="the day of the release")
    parser.add_argument("--tree", type=Path, default=ROOT)
    said = parser.parse_args()
    try:
        if said.deed == "bump":
            bump(said.tree, said.number, said.on)
        elif said.deed == "check":
            check(said.tree, said.number)
        elif said.deed == "notes":
            sys.stdout.write(notes(said.tree, said.number))
        elif said.deed == "images":
            name_images(said.tree, said.number)
        else:
            print("\n".join([*PLACES, CHANGELOG]))
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
