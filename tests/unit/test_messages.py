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
    Unreadable,
    Verdict,
    Word,
    token,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
WORDS = [word for word in Word.__subclasses__() if word.__module__ == Word.__module__]


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


@pytest.mark.parametrize("transition", Transition)
def test_an_event_says_which_transition_it_was(transition):
    assert changed(type=f"job.{transition}").transition is transition


# --- subjects -------------------------------------------------------------------------


def test_every_word_has_a_subject_of_its_own():
    subjects = [word.subject for word in WORDS]

    assert len(set(subjects)) == len(WORDS)
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
        word.subject for word in WORDS if word not in (AttemptDeliveries, JobChanged)
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


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
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
