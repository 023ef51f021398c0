"""`make demo` shows what it promises, and says clearly when it cannot."""

import json
import re

import pytest

from libs.cli.embedded.ports import free_port
from tests.support.stacks import own_stack


@pytest.fixture
async def stack(tmp_path):
    async with own_stack(tmp_path / "stack") as stack:
        yield stack


async def test_the_demo_shows_retries_and_a_dead_letter(stack):
    await stack.start()

    said = await stack.bellhop("demo")

    assert said.code == 0, said.text
    webhooks = re.findall(
        r"webhook +(\w+) +attempt (\d), signature (\w+), answered (\d+)", said.text
    )
    assert sorted(webhooks) == [
        *[("broken", str(n), "verified", "503") for n in (1, 2, 3)],
        ("broken", "4", "verified", "200"),
        *[("moody", str(n), "verified", "503") for n in (1, 2)],
        ("moody", "3", "verified", "200"),
    ]
    events = re.findall(r"event +(\w+) +(\w+)", said.text)
    assert [what for who, what in events if who == "moody"] == [
        "created",
        *["started", "retrying", "failed", "due"] * 2,
        *["started", "completed", "delivered"],
    ]
    assert "broken is dead: attempts_exhausted, HTTP 503" in said.text
    assert len(re.findall(r"attempt \d  \S+  refused  503", said.text)) == 3
    assert ("broken", "requeued") in events
    assert "moody   completed after 3 attempts" in said.text
    assert "broken  completed after 4 attempts" in said.text
    assert "\x1b" not in said.text


async def test_without_a_stack_it_says_what_to_do(stack):
    said = await stack.bellhop("demo")

    assert said.code == 1
    assert "`make up`" in said.text
    assert "Traceback" not in said.text


async def test_a_stack_that_is_gone_is_a_clear_failure(stack):
    nowhere = f"http://127.0.0.1:{free_port()}"
    stack.data_dir.mkdir()
    (stack.data_dir / "stack.json").write_text(
        json.dumps(
            {
                "pid": 1,
                "base_url": nowhere,
                "grpc_address": "",
                "api_key": "sk_live_x",
                "admin_key": "",
                "signing_secret": None,
                "nats_url": "",
                "database_url": "",
                "services": {},
            }
        )
    )

    said = await stack.bellhop("demo")

    assert said.code == 1
    assert f"{nowhere} does not answer" in said.text
    assert "Traceback" not in said.text
