"""What outgoing webhooks are sent: the contract's envelope, and messages for chats."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from spooled.types.webhooks import WebhookEvent, WebhookFormat

from libs.common import outgoing
from services.delivery.signature import ContractSigner

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=UTC)
CHATS = ("slack", "discord", "teams")


def sent(format_, data, event="job.completed"):
    return json.loads(
        outgoing.body_of(format_, id_="d", event=event, created_at=AT, data=data)
    )


def test_the_envelope_is_the_contracts():
    data = {"job_id": "j", "result": msgspec.Raw(b'{"n": 1.50}')}

    text = outgoing.body_of(
        "json", id_="d", event="job.completed", created_at=AT, data=data
    )

    # What a worker gave is passed on as it spelled it.
    assert text.endswith('"data":{"job_id":"j","result":{"n": 1.50}}}')
    envelope = json.loads(text)
    assert list(envelope) == ["id", "event", "created_at", "data"]
    assert datetime.fromisoformat(envelope["created_at"]) == AT


def test_the_contracts_events_and_formats_are_all_there():
    assert set(get_args(WebhookEvent)) <= set(outgoing.EVENTS)
    assert set(get_args(WebhookFormat)) == set(get_args(outgoing.Format))
    assert len(set(outgoing.EVENTS)) == len(outgoing.EVENTS)


def test_slack_is_told_in_its_own_words():
    told = sent("slack", {"queue_name": "mail", "error": "<!channel> & more"})

    assert told == {
        "text": "*job.completed*\nqueue_name: mail\nerror: &lt;!channel&gt; &amp; more"
    }


def test_discord_calls_nobody():
    told = sent("discord", {"error": "@everyone"})

    assert told["content"] == "**job.completed**\nerror: @everyone"
    assert told["allowed_mentions"] == {"parse": []}


def test_teams_is_handed_a_card():
    told = sent("teams", {"job_id": "j", "status": "completed"})

    [card] = told["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    title, facts = card["content"]["body"]
    assert title["text"] == "job.completed"
    assert facts["facts"] == [
        {"title": "job_id", "value": "j"},
        {"title": "status", "value": "completed"},
    ]


@pytest.mark.parametrize("format_", CHATS)
def test_a_chat_is_not_told_more_than_it_takes(format_):
    data = {
        **{f"field_{n}": "x" * 10_000 for n in range(30)},
        "result": msgspec.Raw(json.dumps("y" * 100_000).encode()),
    }

    text = json.dumps(sent(format_, data))

    assert len(text) < 20_000
    if format_ == "discord":
        assert len(sent(format_, data)["content"]) <= 2000


@pytest.mark.parametrize("format_", CHATS)
def test_what_is_absent_is_not_told_to_a_chat(format_):
    assert "reason" not in json.dumps(sent(format_, {"reason": None, "a": 1}))


@pytest.mark.parametrize("format_", get_args(outgoing.Format))
def test_a_test_says_that_it_is_one(format_):
    text = outgoing.test_body_of(format_, webhook_id="w", organization_id="o", now=AT)

    assert "webhook.test" in text
    if format_ == "json":
        assert json.loads(text) == {
            "event": "webhook.test",
            "webhook_id": "w",
            "organization_id": "o",
            "timestamp": AT.isoformat(),
            "test": True,
            "message": "This is a test of an outgoing webhook",
        }


@pytest.mark.parametrize(
    ("secret", "late", "genuine"),
    [("s3cret \u00fc", 0, True), ("another", 0, False), ("s3cret \u00fc", 301, False)],
)
def test_what_the_page_says_about_verifying_is_right(secret, late, genuine):
    page = (ROOT / "docs/outgoing-webhooks.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    written: dict[str, Any] = {}
    exec(snippet, written)
    body, timestamp = b'{"event": "job.failed"}', int(time.time()) - late
    headers = {
        "X-Spooled-Timestamp": str(timestamp),
        "X-Spooled-Signature": ContractSigner("s3cret \u00fc".encode()).sign(
            timestamp, body
        ),
    }

    assert written["is_genuine"](headers, body, secret) == genuine


def test_the_page_tells_of_every_event():
    page = (ROOT / "docs/outgoing-webhooks.md").read_text()

    assert [event for event in outgoing.EVENTS if f"`{event}`" not in page] == []
