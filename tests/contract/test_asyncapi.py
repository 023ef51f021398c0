"""The description of what NATS carries is whole, and made of what is really said."""

import re

import jsonschema_rs
import msgspec
import orjson
import pytest

from libs.common import outgoing
from libs.common.lifecycle import Transition
from libs.common.messages import EVENTS, JobChanged, ResourceChanged
from libs.common.subjects import ingest_subject
from services.ingest.http import asyncapi
from services.ingest.http.event_words import FIELDS
from tests.contract.test_messages import SAMPLES
from tests.contract.test_openapi import APP, references

DOCUMENT = orjson.loads(APP[asyncapi.DOCUMENT])
COMPONENTS = DOCUMENT["components"]


def resolved(reference):
    part = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def test_it_has_what_asyncapi_asks_for():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    for channel in DOCUMENT["channels"].values():
        named = re.findall(r"\{([A-Za-z0-9_-]+)\}", channel["address"] or "")
        assert set(named) == channel.get("parameters", {}).keys()
        assert channel["messages"]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert resolved(operation["channel"]["$ref"])


def test_every_reference_leads_somewhere_and_nothing_is_left_over():
    found = references(DOCUMENT)
    for reference in found:
        assert resolved(reference)
    defined = {
        f"#/{kind}/{name}"
        for kind, members in (
            ("channels", DOCUMENT["channels"]),
            *((f"components/{kind}", members) for kind, members in COMPONENTS.items()),
        )
        for name in members
    }
    assert defined - found == set()


@pytest.mark.parametrize("name", COMPONENTS["schemas"])
def test_every_schema_is_one(name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": COMPONENTS}

    jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize("word", [JobChanged, ResourceChanged])
def test_every_field_of_an_event_is_described(word):
    fields = {field.name for field in msgspec.structs.fields(word)}

    assert COMPONENTS["schemas"][word.__name__]["properties"].keys() == fields
    assert fields <= FIELDS.keys()


def test_every_type_of_event_is_named():
    said = {
        type_
        for name in ("JobChanged", "ResourceChanged")
        for type_ in COMPONENTS["schemas"][name]["properties"]["type"]["enum"]
    }

    others = {each for each in outgoing.EVENTS if not each.startswith("job.")}
    assert said == {f"job.{transition}" for transition in Transition} | others


def matches(name, subject):
    address = DOCUMENT["channels"][name]["address"]
    pattern = re.sub(r"\\\{\w+\\\}", "[A-Za-z0-9_%-]+", re.escape(address))
    return re.fullmatch(pattern, subject) is not None


def test_events_and_jobs_go_where_it_says():
    """Each on the subjects of one channel only."""
    for _, word in SAMPLES:
        if isinstance(word, JobChanged | ResourceChanged):
            subject = word.subject_of_this()
            assert matches("jobs", subject) == isinstance(word, JobChanged)
            assert matches("resources", subject) == isinstance(word, ResourceChanged)
    assert matches("jobsIn", ingest_subject("o", "mail.eu"))
    assert EVENTS.name in DOCUMENT["channels"]["jobs"]["description"]
