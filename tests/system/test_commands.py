"""The command line says what it did and what went wrong, on a stack of its own."""

import contextlib
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from libs.cli.commands import TREE, Branch
from tests.support.commands import shell_beside
from tests.support.stacks import background_stack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/command-line.md").read_text()
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack in the background, for all tests of this file."""
    with background_stack(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


@pytest.fixture
def shell(stack, tmp_path):
    return shell_beside(stack.data_dir, tmp_path / "shell")


def test_every_command_stands_on_the_page():
    for name, it in TREE.items():
        for sub in it.leaves if isinstance(it, Branch) else [""]:
            full = f"{name} {sub}".strip()
            assert f"bellhop {full}" in PAGE or f"`{full}`" in PAGE, full


def test_a_list_is_lines_of_json_with_all_there_is(shell):
    said = shell.run(
        """
        for n in $(seq 3); do echo '{"payload": {}}'; done > jobs
        bellhop jobs create pages --file jobs --json
        bellhop jobs list --queue pages --limit 2 --json
        """
    )

    made, *listed = [json.loads(line) for line in said.stdout.splitlines()]
    assert made == {"created": 3, "known": 0, "failed": []}
    assert [job["queue_name"] for job in listed] == ["pages"] * 2


def test_a_file_says_which_of_its_lines_was_refused(shell):
    said = shell.run(
        """
        printf '%s\n' '{"payload": 1}' '' '{"priority": 1}' '{"priority": 101}' > jobs
        bellhop jobs create numbers --file jobs --json
        """
    )

    told = json.loads(said.stdout)
    assert said.returncode == 1
    assert told["created"] == 1
    assert [one["line"] for one in told["failed"]] == [3, 4]


def test_many_more_than_a_request_carries_are_created_and_cancelled(shell):
    said = shell.run(
        """
        for n in $(seq 250); do echo "{\\"payload\\": {\\"n\\": $n}}"; done > jobs
        bellhop jobs create many --file - < jobs --json
        bellhop jobs list --queue many --limit 1000 --json | wc -l
        bellhop queues delete many --delete-jobs --yes --json
        """
    )

    assert said.returncode == 0, said.stderr
    made, count, deleted = said.stdout.splitlines()
    assert json.loads(made)["created"] == 250
    assert int(count) == 250
    assert json.loads(deleted) == {"deleted": "many"}


def test_a_refusal_names_the_field(shell):
    said = shell.run("bellhop jobs create mail '{}' --priority 1000")

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("bellhop: priority: ")
    assert "VALIDATION_ERROR" in said.stderr


def test_a_refusal_is_the_answer_of_the_api_in_json(shell):
    said = shell.run("bellhop queues pause nobody --json")

    assert (said.returncode, said.stdout) == (1, "")
    assert json.loads(said.stderr)["status"] == 404


def test_a_job_is_followed_to_its_end(shell):
    said = shell.run(
        """
        JOB=$(bellhop jobs create tailed '{}' --to http://127.0.0.1:9/ --max-retries 0)
        bellhop jobs tail "$JOB" --json
        bellhop dlq list --queue tailed --json
        bellhop dlq retry "$JOB" --json
        """
    )

    assert said.returncode == 0, said.stderr
    *frames, letter, retried = [json.loads(line) for line in said.stdout.splitlines()]
    assert frames[-1]["type"] in {"JobStatusChange", "JobFailed"}
    assert "deadletter" in {frame["data"].get("new_status") for frame in frames}
    assert letter["dead_reason"] == "attempts_exhausted"
    assert retried == {"retried": 1, "skipped": []}


def test_without_a_word_where_bellhop_is_it_says_what_to_give(shell, tmp_path):
    nowhere = {"BELLHOP_DATA_DIR": str(tmp_path / "none")}
    said = shell.run("bellhop jobs list", **nowhere)
    assert (said.returncode, said.stdout) == (1, "")
    assert "--url or BELLHOP_URL" in said.stderr

    said = shell.run("bellhop jobs list --url http://127.0.0.1:9", **nowhere)
    assert said.returncode == 1
    assert "--api-key or BELLHOP_API_KEY" in said.stderr

    said = shell.run(
        "bellhop jobs list --url http://127.0.0.1:9 --api-key sk_live_x", **nowhere
    )
    assert said.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in said.stderr


def test_the_key_of_the_stack_is_told_to_nobody_else(shell):
    said = shell.run("bellhop jobs list --url http://127.0.0.1:9")

    assert said.returncode == 1
    assert "there is no key for http://127.0.0.1:9" in said.stderr


def test_what_cannot_be_undone_is_not_done_unasked(shell):
    said = shell.run("bellhop dlq purge --all")

    assert said.returncode == 1
    assert "--yes" in said.stderr


def test_the_doctor_says_that_all_is_well_and_what_is_not(shell):
    said = shell.run("bellhop doctor --json")
    told = json.loads(said.stdout)

    assert said.returncode == 0, told
    assert told["ok"]
    checks = {one["check"] for one in told["checks"]}
    assert {"Postgres", "NATS", "ingest", "delivery", "disk"} <= checks

    said = shell.run("bellhop doctor --url http://127.0.0.1:9")
    assert said.returncode == 1
    assert "FAIL  API" in said.stdout
    assert "→ look at its log" in said.stdout


def test_top_shows_what_changes_while_it_runs(shell):
    said = shell.run(
        """
        timeout 60 bellhop top --json --interval 0.5 > pictures &
        TOP=$!
        until test -s pictures; do sleep 0.1; done
        bellhop jobs create watched '{}'
        until tail -n 1 pictures | grep -q '"queue": "watched", "pending": 1'; do
            sleep 0.1
        done
        kill $TOP; wait $TOP || true
        """
    )

    assert said.returncode == 0, said.stderr


def test_top_goes_on_when_ingest_dies(shell, stack):
    pid = stack.file.services["ingest"].pid
    said = shell.run(
        f"""
        timeout 60 bellhop top --json --interval 0.2 > pictures &
        TOP=$!
        until test -s pictures; do sleep 0.1; done
        kill -KILL {pid}
        until bellhop jobs create survived '{{}}'; do sleep 0.2; done
        until tail -n 1 pictures | grep -q '"queue": "survived", "pending": [1-9]'; do
            sleep 0.1
        done
        kill $TOP
        """
    )

    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr


def test_top_fills_a_terminal_until_q_is_pressed(shell):
    said = shell.run(
        """
        for n in $(seq 50); do echo '{"payload": {}}'; done > jobs
        bellhop jobs create in-sight --file jobs
        """
    )
    assert said.returncode == 0, said.stderr
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bellhop", "top"],
        env={**shell.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while not (b"in-sight" in seen and b"Failing endpoints" in seen):
            seen += os.read(ours, 4096)
        os.write(ours, b"q")
        # What is not read of a terminal keeps its program from ending.
        with contextlib.suppress(OSError):
            while os.read(ours, 4096):
                pass
        assert process.wait(30) == 0
    os.close(ours)
    assert b"q quits" in seen
    assert b"Queues" in seen


def test_top_is_for_a_terminal(shell):
    said = shell.run("bellhop top")

    assert said.returncode == 1
    assert "--json" in said.stderr


def test_a_tail_goes_on_where_it_stopped_when_the_streamer_dies(shell, stack):
    pid = stack.file.services["streamer"].pid
    said = shell.run(
        f"""
        bellhop events tail --queue broken --events job.created --json > told &
        TAIL=$!
        sleep 1
        for n in 1 2; do bellhop jobs create broken '{{}}'; done > ids
        until test "$(wc -l < told)" -ge 1; do
            bellhop jobs create broken '{{}}' >> ids; sleep 0.2
        done
        kill -KILL {pid}
        for n in 3 4 5; do bellhop jobs create broken '{{}}'; done >> ids
        LAST=$(tail -n 1 ids)
        until grep -q "$LAST" told; do sleep 0.2; done
        kill $TAIL; wait $TAIL || true
        """
    )

    assert said.returncode == 0, said.stderr
    told = (shell.directory / "told").read_text().splitlines()
    heard = [json.loads(line)["data"]["job_id"] for line in told]
    ids = (shell.directory / "ids").read_text().split()
    # Whoever begins to watch hears what comes; from then on nothing is left out.
    assert heard == ids[len(ids) - len(heard) :]
