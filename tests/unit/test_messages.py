"""Words on the bus: read as they were said, or refused; user text stays one token."""

import contextlib
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.lifecycle import Transition
from libs.common.messages import (
    EVENTS,
    WORK,
    AttemptDeliveries,
    AttemptsEnded,
    JobChanged,
    LanesReady,
    ResourceChanged,
    Unreadable,
    Verdict,
    Word,
)
from libs.common.positions import position, read_position
from libs.common.subjects import ingest_subject, read_ingest_subject, token

texts = st.text(st.characters(exclude_categories=["Cs"]))
WORDS = [word for word in Word.__subclasses__() if word.__module__ == Word.__module__]
EVENT_WORDS = (JobChanged, ResourceChanged)


def changed(**fields):
    return JobChanged(
        **{
            "id": "17",
            "type": "job.completed",
            "time": "2026-01-02T03:04:05+00:00",
            "organization_id": "acme",
            "queue_name": "mail",
            "job_id": "a-job",
            "attempt": 1,
            **fields,
        }
    )


# --- tokens ---------------------------------------------------------------------------


@given(texts)
@example("*")
@example(">")
@example("a.b")
@example("a b")
@example("%41")
@example("\u00e9\u0660\u00b2")
def test_user_text_is_one_token_and_can_be_read_back(text):
    """Reversible, so no two texts share one."""
    coded = token(text)

    assert unquote(coded) == text
    assert set(coded) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_%"
    )
    assert bool(coded) == bool(text)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,100}", fullmatch=True))
def test_plain_names_stay_as_they_are(name):
    assert token(name) == name


@given(texts, texts)
def test_two_texts_have_two_tokens(one, other):
    assert (token(one) == token(other)) == (one == other)


@given(texts)
@example("mail.eu")
def test_where_jobs_are_handed_in_names_their_queue(queue_name):
    subject = ingest_subject("acme", queue_name)

    assert read_ingest_subject(subject) == ("acme", queue_name)
    assert len(subject.split(".")) == 4


def test_a_queue_may_be_named_with_its_dots():
    named = ("acme", "mail.eu")

    assert read_ingest_subject("bellhop.ingest.acme.mail.eu") == named
    assert read_ingest_subject("bellhop.ingest.acme.mail%2Eeu") == named


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", fullmatch=True))
def test_an_event_stands_at_its_place_among_the_subjects(queue_name):
    subject = changed(queue_name=queue_name).subject_of_this()

    assert subject.split(".") == [
        "bellhop",
        "events",
        "acme",
        token(queue_name),
        "a-job",
        "completed",
    ]


@given(texts, texts, texts)
def test_what_happens_to_other_things_never_stands_under_a_queue(id_, name, what):
    event = ResourceChanged(
        id="1",
        type=f"worker.{what}",
        time="t",
        organization_id="acme",
        resource="worker",
        resource_id=id_,
    )

    tokens = event.subject_of_this().split(".")

    assert len(tokens) == 6
    assert tokens[3] == "@worker" != token(name)
    assert (unquote(tokens[4]), unquote(tokens[5])) == (id_, what)


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (b"null", set()),
        (b'["a", "b", 1, {"c": 2}]', {"a", "b"}),
        (b'{"a": ["b"], "c": null}', {"a", "c"}),
        (b'"a"', {"a"}),
        (b"7", set()),
    ],
)
def test_tags_are_names_to_be_asked_for_by(tags, names):
    assert changed(tags=msgspec.Raw(tags)).tag_names == names


xids, seqs = st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)


@given(st.tuples(xids, seqs))
def test_a_position_is_read_as_it_was_written(numbers):
    xid, seq = numbers

    assert read_position(position(str(xid), seq)) == numbers


@pytest.mark.parametrize(
    "text",
    ["", "1", "1-", "-1", "1-2-3", "1 - 2", "a-b", "+1-2", "1-2\n", "\u0661-2"],
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match="two numbers"):
        read_position(text)


@pytest.mark.parametrize("transition", Transition)
def test_an_event_says_which_transition_it_was(transition):
    assert changed(type=f"job.{transition}").transition is transition


# --- subjects -------------------------------------------------------------------------


def test_every_word_has_a_subject_of_its_own():
    subjects = [word.subject for word in WORDS if word not in EVENT_WORDS]

    assert len(set(subjects)) == len(WORDS) - len(EVENT_WORDS)
    assert {word.subject for word in EVENT_WORDS}.isdisjoint(subjects)
    for subject in [*subjects, AttemptsEnded.subject_of("one"), AttemptsEnded.anybody]:
        assert subject.startswith("bellhop.")
        assert subject == subject.lower()
        assert set(subject) <= set("abcdefghijklmnopqrstuvwxyz.-_")


def test_nobody_is_called_anybody():
    assert AttemptsEnded.subject_of("any") == AttemptsEnded.anybody
    assert AttemptsEnded.subject_of("dispatcher-1") != AttemptsEnded.anybody


def test_the_streams_hold_the_words_they_are_for():
    assert WORK.subjects == (AttemptDeliveries.subject,)
    assert EVENTS.subjects == (f"{JobChanged.subject}.>",)
    # What a stream stores must not be what others merely hear.
    heard = [
        word.subject for word in WORDS if word not in (AttemptDeliveries, *EVENT_WORDS)
    ]
    assert not any(subject.startswith(JobChanged.subject) for subject in heard)


# --- reading --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", [word for word in WORDS if msgspec.structs.fields(word)]
)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b"{}garbage",
        b'{"lanes": [1.5]}',
        b'{"lanes": {}, "dispatcher": 1, "organization_id": [], "pod": null}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_word_is_unreadable(word, data):
    with pytest.raises(Unreadable, match=word.__name__):
        word.decode(data)


@given(st.binary(max_size=200), st.sampled_from(WORDS))
def test_whatever_arrives_is_read_or_refused(data, word):
    with contextlib.suppress(Unreadable):
        word.decode(data)


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_a_word_is_heard_as_it_was_said(lanes):
    word = LanesReady(lanes=lanes)

    assert LanesReady.decode(word.encode()) == word


@given(texts, st.binary(), st.dictionaries(texts, texts))
def test_what_a_receiver_answered_travels_unharmed(text, body, headers):
    word = AttemptsEnded(
        pod=text,
        verdicts=[
            Verdict(job_id="j", lease_id="l", error=text, body=body, headers=headers)
        ],
    )

    assert AttemptsEnded.decode(word.encode()) == word
