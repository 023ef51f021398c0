"""The rules of the house that a machine can check."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from libs.common import messages, sql

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "dispatcher", "delivery", "scheduler", "streamer")
LINES_MAX = 450
#: Names that say nothing about what is inside, and so attract everything.
DUMPING_GROUNDS = {
    "base",
    "common_types",
    "core",
    "helpers",
    "interfaces",
    "manager",
    "misc",
    "models",
    "types",
    "util",
    "utils",
}
#: Where a bug ends: with the actor, the process, the caller of a batch, the request,
#: the call, the message, the handler of whoever uses the worker kit.
CATCHERS = {
    "services/ingest/grpc/errors.py",
    "services/ingest/http/errors.py",
    "services/ingest/hatch.py",
    "libs/common/actors.py",
    "libs/common/batcher.py",
    "libs/common/bus.py",
    "libs/common/runner.py",
    "libs/worker/handling.py",
}
#: What only the machine of whoever wrote it has; and where packages come from, which
#: is up to whoever installs them.  In pieces, so that this file does not break it.
PRIVATE = re.compile(
    r"(?<![\w.~-])/(?:work|root|home|Users|opt)/"
    r"|pypi\."
    r"org|python"
    r"hosted|npm"
    r"js\.|crates\."
    r"io|proxy\.gol"
    r"ang"
    r"|repo1?\.ma"
    r"ven",
    re.IGNORECASE,
)
#: The one place that must know where pip comes from when there is no pip to ask.
BOOTSTRAP = Path("libs/cli/bootstrap.py")
LEFT_OUT = {"__pycache__", "build", "node_modules", "pb"}


def files(*patterns):
    """Our files, relative to the root: not the environment, data or caches."""
    return sorted(
        path.relative_to(ROOT)
        for pattern in patterns
        for path in ROOT.rglob(pattern)
        if path.is_file()
        and not any(
            part in LEFT_OUT or part.endswith(".egg-info") or part.startswith(".")
            for part in path.relative_to(ROOT).parent.parts
            if part != ".ci"
        )
    )


PYTHON = files("*.py")
OURS = [file for file in PYTHON if file.parts[0] in {"libs", "services"}]


def tree_of(file):
    return ast.parse((ROOT / file).read_text())


def test_there_is_a_house_to_check():
    assert Path("libs/common/bus.py") in OURS
    assert {file.parts[1] for file in OURS if file.parts[0] == "services"} > {*SERVICES}
    assert Path("tests/contract/test_house_rules.py") in PYTHON


@pytest.mark.parametrize("file", PYTHON, ids=str)
def test_a_file_has_a_purpose_and_fits_in_the_head(file):
    text = (ROOT / file).read_text()

    assert ast.get_docstring(ast.parse(text)), "say in one sentence what it is for"
    assert file.stem not in DUMPING_GROUNDS
    assert text.count("\n") <= LINES_MAX


@pytest.mark.parametrize("file", OURS, ids=str)
def test_a_function_fits_on_a_page(file):
    long = [
        node.name
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 50
    ]

    assert long == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_rooms_that_all_have(service):
    rooms = {path.name for path in (ROOT / "services" / service).iterdir()}

    assert {"__init__.py", "__main__.py", "settings.py", "service.py"} <= rooms


@pytest.mark.parametrize("service", SERVICES)
def test_the_card_on_the_door_names_words_that_exist(service):
    card = importlib.import_module(f"services.{service}").__doc__ or ""
    headings = re.findall(r"^(\w+)  +\S", card, re.MULTILINE)
    spoken = re.search(r"^Hears(.*?)^Reads", card, re.MULTILINE | re.DOTALL)

    assert headings == ["Hears", "Says", "Reads", "Writes", "Never"]
    assert spoken is not None
    for word in re.findall(r"``(\w+)``", spoken[1]):
        assert issubclass(getattr(messages, word), messages.Word), word


def test_every_word_is_heard_and_said_by_somebody():
    cards = {
        service: importlib.import_module(f"services.{service}").__doc__ or ""
        for service in SERVICES
    }
    words = {
        name
        for name, word in inspect.getmembers(messages, inspect.isclass)
        if issubclass(word, messages.Word) and word is not messages.Word
    }

    for side, until in (("Hears", "Says"), ("Says", "Reads")):
        found = {
            word
            for card in cards.values()
            for section in re.findall(
                rf"^{side}(.*?)^{until}", card, re.MULTILINE | re.DOTALL
            )
            for word in re.findall(r"``(\w+)``", section)
        }
        assert words - found == set(), side


def test_everything_is_caught_in_few_places_only():
    catchers = {
        str(file)
        for file in OURS
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or {"Exception", "BaseException"}
            & set(re.findall(r"\w+", ast.unparse(node.type)))
        )
    }

    assert catchers <= CATCHERS


def test_only_settings_look_at_the_environment():
    lookers = {
        str(file)
        for file in OURS
        if not file.is_relative_to("libs/cli")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"}
    }

    assert lookers == set()


@pytest.mark.parametrize(
    "file",
    files("*.py", "*.sql", "*.md", "*.toml", "*.txt", "*.y*ml", "*.conf", "*.sh")
    + files("Makefile", "Dockerfile", ".ci/run", ".ci/compose", ".ci/doors")
    + files(".env.example", ".*ignore"),
    ids=str,
)
def test_a_file_is_at_home_on_any_machine(file):
    found = [
        (number, line.strip())
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1)
        if PRIVATE.search(line)
        and not (file == BOOTSTRAP and line.startswith("DEFAULT_INDEX"))
    ]

    assert found == []


@pytest.mark.parametrize("file", files("*.sql"), ids=str)
def test_statements_and_functions_go_by_the_same_names(file):
    if file.parent.name == "schema":
        assert re.fullmatch(r"\d{4}_[a-z_]+\.sql", file.name)
        return
    package = ".".join(file.parent.parts)
    module = importlib.import_module(f"{package}.{file.stem}")
    functions = {
        name
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }

    assert list(module.SQL) == list(sql.load(package, file.stem))
    assert set(module.SQL) <= functions, "a statement without its function"
