"""The wire: what yesterday's services say is understood today.

The samples here are never edited.  A message that changes gets another sample, beside
the old one, and both must be read; what breaks one breaks a house that is being
upgraded, service by service, while it runs.
"""

import json

import msgspec
import pytest

from libs.common import messages
from libs.common.messages import (
    NULL,
    AttemptDeliveries,
    AttemptsEnded,
    AttemptWanted,
    BodyWanted,
    Delivery,
    DispatcherAlive,
    JobChanged,
    JournalGrew,
    LanesReady,
    LeasesHeld,
    OrganizationChanged,
    Receiver,
    ResourceChanged,
    SchedulesChanged,
    SealedKey,
    Verdict,
    Word,
    WorkerSeen,
    WorkReady,
)

#: Never edited: where each word is said.
SUBJECTS = {
    LanesReady: "bellhop.wake.push",
    WorkReady: "bellhop.wake.work",
    JournalGrew: "bellhop.wake.journal",
    SchedulesChanged: "bellhop.wake.schedules",
    OrganizationChanged: "bellhop.hint.organization.changed",
    WorkerSeen: "bellhop.hint.worker.seen",
    DispatcherAlive: "bellhop.hint.dispatcher.alive",
    LeasesHeld: "bellhop.hint.delivery.held",
    AttemptDeliveries: "bellhop.work.delivery",
    AttemptsEnded: "bellhop.results",
    AttemptWanted: "bellhop.attempt",
    BodyWanted: "bellhop.bodies",
    JobChanged: "bellhop.events",
    ResourceChanged: "bellhop.events",
}

#: Never edited: bytes as they were once sent, and what they mean.
SAMPLES = [
    (b'{"lanes":[1,2,3000000]}', LanesReady(lanes=[1, 2, 3_000_000])),
    (b'{"lanes":[4,5,6000000]}', WorkReady(lanes=[4, 5, 6_000_000])),
    (b"{}", JournalGrew()),
    (b"{}", SchedulesChanged()),
    (
        b'{"organization_id":"0191d0a0-0000-7000-8000-000000000001"}',
        OrganizationChanged(organization_id="0191d0a0-0000-7000-8000-000000000001"),
    ),
    (
        b'{"organization_id":"o","worker_id":"host.1:7","queue_name":"mail","status":"de'
        b'graded","current_jobs":3,"time":"2026-01-02T03:04:05.678901+00:00"}',
        WorkerSeen(
            organization_id="o",
            worker_id="host.1:7",
            queue_name="mail",
            status="degraded",
            current_jobs=3,
            time="2026-01-02T03:04:05.678901+00:00",
        ),
    ),
    (
        b'{"dispatcher":"dispatcher-0123456789ab"}',
        DispatcherAlive(dispatcher="dispatcher-0123456789ab"),
    ),
    (
        b'{"pod":"delivery-1","slots":1024,"leases":{"dispatcher-1":["0191d0a0-0000-'
        b'7000-8000-0000000000aa"],"dispatcher-2":[]}}',
        LeasesHeld(
            pod="delivery-1",
            slots=1024,
            leases={
                "dispatcher-1": ["0191d0a0-0000-7000-8000-0000000000aa"],
                "dispatcher-2": [],
            },
        ),
    ),
    (
        b'{"lease_id":"0191d0a0-0000-7000-8000-0000000000aa","dispatcher":"dispatcher-1"'
        b',"lease_seconds":7.0,"secrets":{"0191d0a0-0000-7000-8000-000000000001":["MWFi'
        b'Yw=="]},"jobs":[{"job_id":"0191d0a0-0000-7000-8000-0000000000bb","organizatio'
        b'n_id":"0191d0a0-0000-7000-8000-000000000001","attempt":2,"url":"https://recei'
        b'ver.test/hook","timeout_seconds":30.0,"body_bytes":13,"body":{"n": 1, "m":2},'
        b'"method":"PUT","headers":{"x-one":"1"}},{"job_id":"0191d0a0-0000-7000-8000-00'
        b'00000000cc","organization_id":"0191d0a0-0000-7000-8000-000000000001","attempt'
        b'":1,"url":"https://receiver.test/hook","timeout_seconds":1.5,"body_bytes":100'
        b'000,"body":null,"method":"POST","headers":{}}]}',
        AttemptDeliveries(
            lease_id="0191d0a0-0000-7000-8000-0000000000aa",
            dispatcher="dispatcher-1",
            lease_seconds=7.0,
            secrets={"0191d0a0-0000-7000-8000-000000000001": [b"1abc"]},
            jobs=[
                Delivery(
                    job_id="0191d0a0-0000-7000-8000-0000000000bb",
                    organization_id="0191d0a0-0000-7000-8000-000000000001",
                    attempt=2,
                    url="https://receiver.test/hook",
                    timeout_seconds=30.0,
                    body_bytes=13,
                    # The producer's bytes: the space after the comma is theirs.
                    body=msgspec.Raw(b'{"n": 1, "m":2}'),
                    method="PUT",
                    headers={"x-one": "1"},
                ),
                Delivery(
                    job_id="0191d0a0-0000-7000-8000-0000000000cc",
                    organization_id="0191d0a0-0000-7000-8000-000000000001",
                    attempt=1,
                    url="https://receiver.test/hook",
                    timeout_seconds=1.5,
                    body_bytes=100_000,
                ),
            ],
        ),
    ),
    (
        b'{"pod":"delivery-1","verdicts":[{"job_id":"j1","lease_id":"l1","sent":true,"s'
        b'tatus":200,"error":null,"duration_ms":12.5,"ended_ms_ago":3.25,"retry_after":'
        b'null,"headers":{"content-type":"text/plain"},"body":"b2sA/w=="},{"job_id":"j2'
        b'","lease_id":"l1","sent":false,"status":null,"error":"stopping","duration_ms"'
        b':0.0,"ended_ms_ago":0.0,"retry_after":"120","headers":null,"body":""}]}',
        AttemptsEnded(
            pod="delivery-1",
            verdicts=[
                Verdict(
                    job_id="j1",
                    lease_id="l1",
                    status=200,
                    duration_ms=12.5,
                    ended_ms_ago=3.25,
                    headers={"content-type": "text/plain"},
                    body=b"ok\x00\xff",
                ),
                Verdict(
                    job_id="j2",
                    lease_id="l1",
                    sent=False,
                    error="stopping",
                    retry_after="120",
                ),
            ],
        ),
    ),
    (
        b'{"pod":"p","verdicts":[{"job_id":"j","lease_id":"l","endpoint_id":"e","url_ver'
        b'sion":2,"sent":true,"status":410}]}',
        AttemptsEnded(
            pod="p",
            verdicts=[
                Verdict(
                    job_id="j",
                    lease_id="l",
                    endpoint_id="e",
                    url_version=2,
                    status=410,
                )
            ],
        ),
    ),
    # What need not be said is not missed.
    (
        b'{"pod":"p","verdicts":[{"job_id":"j","lease_id":"l"}]}',
        AttemptsEnded(pod="p", verdicts=[Verdict(job_id="j", lease_id="l")]),
    ),
    (
        b'{"job":{"job_id":"j","webhook_id":"w","endpoint_id":"e","url_version":2,"organ'
        b'ization_id":"o",'
        b'"attempt":1,"url":"https://a.example/","timeout_seconds":15.0,"body_bytes":2,'
        b'"body":{},"method":"POST","headers":{}},"receiver":{"style":"contract","keys":'
        b'[{"scheme":"v1a","sealed":"AQI="}],"headers":{"a":"b"},"auth":"Aw==","tls":nul'
        b'l},"secrets":[]}',
        AttemptWanted(
            job=Delivery(
                job_id="j",
                webhook_id="w",
                endpoint_id="e",
                url_version=2,
                organization_id="o",
                attempt=1,
                url="https://a.example/",
                timeout_seconds=15.0,
                body_bytes=2,
                body=msgspec.Raw(b"{}"),
            ),
            receiver=Receiver(
                style="contract",
                keys=[SealedKey(scheme="v1a", sealed=b"\x01\x02")],
                headers={"a": "b"},
                auth=b"\x03",
            ),
        ),
    ),
    (
        b'{"job_id":"j","lease_id":"l","offset":524288,"length":65536}',
        BodyWanted(job_id="j", lease_id="l", offset=524_288, length=65_536),
    ),
    (
        b'{"job_id":"j","lease_id":"l","offset":0,"length":9,"digest":"00ff"}',
        BodyWanted(job_id="j", lease_id="l", offset=0, length=9, digest="00ff"),
    ),
    (
        b'{"id":"42","type":"job.retrying","time":"2026-01-02T03:04:05.678901+00:00","o'
        b'rganization_id":"o","queue_name":"mail.eu","job_id":"j","attempt":3,"priority'
        b'":-5,"actor":"dispatcher-1","details":{"error": "HTTP 500"}}',
        JobChanged(
            id="42",
            type="job.retrying",
            time="2026-01-02T03:04:05.678901+00:00",
            organization_id="o",
            queue_name="mail.eu",
            job_id="j",
            attempt=3,
            priority=-5,
            actor="dispatcher-1",
            details=msgspec.Raw(b'{"error": "HTTP 500"}'),
        ),
    ),
    (
        b'{"id":"1","type":"job.created","time":"t","organization_id":"o","queue_name":'
        b'"q","job_id":"j","attempt":0}',
        JobChanged(
            id="1",
            type="job.created",
            time="t",
            organization_id="o",
            queue_name="q",
            job_id="j",
            attempt=0,
            details=NULL,
        ),
    ),
    (
        b'{"id":"43","position":"9007199254740993-43","type":"job.created","time":"t","o'
        b'rganization_id":"o","queue_name":"q","job_id":"j","job_type":"email","tags":["'
        b'eu", {"tier":1}],"attempt":0,"priority":0,"actor":null,"details":null}',
        JobChanged(
            id="43",
            position="9007199254740993-43",
            type="job.created",
            time="t",
            organization_id="o",
            queue_name="q",
            job_id="j",
            job_type="email",
            tags=msgspec.Raw(b'["eu", {"tier":1}]'),
            attempt=0,
        ),
    ),
    (
        b'{"id":"44","position":"812-44","type":"worker.registered","time":"t","organiza'
        b'tion_id":"o","resource":"worker","resource_id":"host.1:7","queue_name":"mail",'
        b'"data":{"worker_id": "host.1:7"}}',
        ResourceChanged(
            id="44",
            position="812-44",
            type="worker.registered",
            time="t",
            organization_id="o",
            resource="worker",
            resource_id="host.1:7",
            queue_name="mail",
            data=msgspec.Raw(b'{"worker_id": "host.1:7"}'),
        ),
    ),
]


def words():
    return {
        word
        for word in vars(messages).values()
        if isinstance(word, type) and issubclass(word, Word) and word is not Word
    }


def test_every_word_has_its_subject_and_a_sample():
    assert {word: word.subject for word in words()} == SUBJECTS
    assert {type(word) for _, word in SAMPLES} == words()
    assert AttemptsEnded.subject_of("dispatcher-1") == "bellhop.results.dispatcher-1"
    assert AttemptsEnded.anybody == "bellhop.results.any"


def test_an_event_is_found_under_its_subject():
    subjects = [
        word.subject_of_this()
        for _, word in SAMPLES
        if isinstance(word, JobChanged | ResourceChanged)
    ]

    assert subjects == [
        "bellhop.events.o.mail%2Eeu.j.retrying",
        "bellhop.events.o.q.j.created",
        "bellhop.events.o.q.j.created",
        "bellhop.events.o.@worker.host%2E1%3A7.registered",
    ]


@pytest.mark.parametrize(
    ("wire", "word"),
    [
        (wire, word)
        for wire, word in SAMPLES
        if isinstance(word, JobChanged | ResourceChanged)
    ],
)
def test_an_event_is_read_as_what_it_is(wire, word):
    assert messages.read_event(wire) == word


@pytest.mark.parametrize(("wire", "word"), SAMPLES)
def test_what_was_said_is_understood(wire, word):
    assert type(word).decode(wire) == word


@pytest.mark.parametrize(("wire", "word"), SAMPLES)
def test_what_we_say_yesterdays_services_understand(wire, word):
    """Each field that was there still is, with the same meaning."""
    said, once = json.loads(word.encode()), json.loads(wire)

    assert_includes(said, once)


def assert_includes(said, once):
    match once:
        case dict():
            for name, value in once.items():
                assert_includes(said[name], value)
        case list():
            assert len(said) == len(once)
            for one, other in zip(said, once, strict=True):
                assert_includes(one, other)
        case _:
            assert said == once


@pytest.mark.parametrize(("wire", "word"), SAMPLES)
def test_a_word_of_tomorrow_may_say_more(wire, word):
    more = json.loads(wire)
    more["of_tomorrow"] = {"anything": [1, None]}
    for each in more.get("jobs", []) + more.get("verdicts", []):
        each["of_tomorrow"] = True

    again = type(word).decode(json.dumps(more).encode())

    # Bodies are compared as JSON: the sample was written anew.
    assert json.loads(again.encode()) == json.loads(word.encode())
