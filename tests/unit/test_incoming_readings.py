"""What is made of webhooks that were believed: names, queues, types, and JSON."""

import pytest

from libs.common.errors import Malformed
from services.ingest.incoming import github, slack
from services.ingest.incoming.proof import Greeting, named, plain, read_form
from services.ingest.incoming.providers import PROVIDERS, key_of, queue_of, type_of
from tests.support import senders
from tests.support.senders import EXAMPLES, Headers, arrived_by, signed

PROVIDED = sorted(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDED)
def test_what_came_is_called_as_its_sender_calls_it(provider):
    _, _, body, event, id_, queue, type_ = EXAMPLES[provider]
    headers, body = signed(provider)

    arrived = arrived_by(provider, headers, body)

    assert (arrived.event, arrived.delivery_id) == (event, id_)
    assert arrived.payload == body
    assert queue_of(provider, arrived.event) == queue
    assert type_of(provider, arrived.event) == type_


@pytest.mark.parametrize(
    ("event", "queue", "type_"),
    [
        ("", "github-", "github"),
        ("a b//c", "github-a-b-c", "github.a.b.c"),
        ("..", "github-..", "github"),
        ("a--b.-c_d", "github-a--b.-c_d", "github.a.b.c_d"),
        ("a-b", "github-a-b", "github.a-b"),
        ("\u00fc", "github--", "github"),
        ("x" * 200, "github-" + "x" * 93, "github." + "x" * 200),
    ],
)
def test_any_word_becomes_a_queue_and_a_type(event, queue, type_):
    assert (queue_of("github", event), type_of("github", event)) == (queue, type_)


def test_a_form_of_github_is_the_json_in_it():
    payload = '{"zen": "\u00fc", "n": 1.0}'
    body = senders.form(payload=payload)
    headers = Headers(senders.github(body, media=f"{senders.FORM}; charset=utf-8"))

    assert github.read(headers, body).payload == payload.encode()


def test_slack_asks_whether_we_are_there():
    body = b'{"type": "url_verification", "challenge": "3eZbrw", "token": "x"}'

    assert slack.read(Headers({}), body) == Greeting("3eZbrw")
    form = Headers({"Content-Type": senders.FORM})
    assert slack.read(form, b"ssl_check=1&token=x") == Greeting()


def test_a_slash_command_of_slack_is_json_with_its_fields():
    body = senders.form(command="/weather", text="94070 \u00fc", trigger_id="1.2")
    headers = Headers(senders.slack(body, media=senders.FORM))

    arrived = arrived_by("slack", headers, body)

    assert arrived.event == "slash_command"
    assert arrived.payload == (
        '{"command":"/weather","text":"94070 \u00fc","trigger_id":"1.2"}'.encode()
    )
    assert arrived.silent
    again = arrived_by("slack", headers, body)
    later = arrived_by(
        "slack", Headers({**headers, "x-slack-request-timestamp": "1"}), body
    )
    assert again.delivery_id == arrived.delivery_id != later.delivery_id


def test_an_interaction_of_slack_is_the_json_in_its_form():
    payload = '{"type": "block_actions",  "actions": []}'
    body = senders.form(payload=payload)

    arrived = arrived_by(
        "slack", Headers(senders.slack(body, media=senders.FORM)), body
    )

    assert (arrived.event, arrived.payload) == ("block_actions", payload.encode())
    assert arrived.silent


def test_an_event_of_slack_without_an_id_is_known_by_its_bytes():
    body = b'{"type": "app_rate_limited", "minute_rate_limited": 1}'

    arrived = arrived_by("slack", Headers(senders.slack(body)), body)

    assert arrived.event == "app_rate_limited"
    assert arrived.delivery_id.startswith("sha256:")


@pytest.mark.parametrize(
    ("provider", "headers", "body", "field"),
    [
        ("github", {"X-GitHub-Event": "push"}, b"{}", "X-GitHub-Delivery"),
        ("github", {"X-GitHub-Delivery": "1"}, b"{}", "X-GitHub-Event"),
        ("github", {"Content-Type": senders.FORM}, b"a=1", "payload"),
        ("stripe", {}, b'{"type": "a"}', "id"),
        ("stripe", {}, b'{"id": 1, "type": "a"}', "id"),
        ("stripe", {}, b'{"id": "1"}', "type"),
        ("stripe", {}, b"[]", "body"),
        ("stripe", {}, b"\xff", "body"),
        ("shopify", {"X-Shopify-Topic": "a"}, b"{}", "X-Shopify-Webhook-Id"),
        ("shopify", {"X-Shopify-Webhook-Id": "a"}, b"{}", "X-Shopify-Topic"),
        ("slack", {}, b"{}", "type"),
        ("slack", {}, b'{"type": "url_verification"}', "challenge"),
        ("slack", {"Content-Type": senders.FORM}, b"a=1", "command"),
        ("slack", {"Content-Type": senders.FORM}, b"payload={}", "payload.type"),
        ("slack", {"Content-Type": senders.FORM}, b"a=%ff", "body"),
        ("slack", {"Content-Type": senders.FORM}, b"a&" * 200, "body"),
        ("standard", {"webhook-id": "1"}, b"no", "body"),
    ],
)
def test_what_is_believed_and_makes_no_sense_is_said(provider, headers, body, field):
    with pytest.raises(Malformed) as refused:
        PROVIDERS[provider].read(Headers(headers), body)

    assert refused.value.faults[0].field == field


def test_names_that_are_long_or_strange_are_hashed():
    assert named("evt_1") == "evt_1"
    for strange in ("x" * 201, "\u00fc", "a\nb", "\udcff", "\x00"):
        assert named(strange).startswith("sha256:")
        assert len(key_of("standard", named(strange))) <= 255
    assert named("x" * 201) != named("x" * 202)


def test_words_are_kept_as_they_can_be_shown():
    assert plain("a\x00b\u00fc\udcff") == "a?b??"
    assert len(plain("x" * 1000)) == 200


def test_of_two_fields_of_a_form_the_last_counts():
    assert read_form(b"a=1&a=2&b=") == {"a": "2", "b": ""}
