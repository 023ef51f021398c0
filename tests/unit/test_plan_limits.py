"""What the operator says of the plans is checked at the start, and then holds."""

from base64 import b64encode

import pytest

from libs.common.plans import operator_limits, plan_of
from services.ingest.settings import Settings

SECRET_KEY = b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/nowhere")
    monkeypatch.setenv("BELLHOP_SECRET_KEY", SECRET_KEY)
    return monkeypatch


def test_the_operator_changes_a_plan(environment):
    environment.setenv(
        "BELLHOP_PLAN_LIMITS", '{"free": {"max_queues": 7, "max_workers": null}}'
    )
    plan = plan_of("free", operator=Settings.from_env().plan_limits)

    assert (plan.limits.max_queues, plan.limits.max_workers) == (7, None)
    assert plan.limits.max_active_jobs == 10


def test_an_organization_has_the_last_word():
    operator = operator_limits({"free": {"max_queues": 7}})

    assert (
        plan_of(
            "free", operator=operator, custom_limits={"max_queues": 9}
        ).limits.max_queues
        == 9
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be an object"),
        ('{"gold": {}}', "gold: is no plan"),
        ('{"free": 3}', "free: must be an object of limits"),
        ('{"free": {"max_quues": 3}}', "free.max_quues: "),
        ('{"free": {"max_queues": -1}}', "free.max_queues: "),
        ('{"pro": {"max_queues": "many"}}', "pro.max_queues: "),
    ],
)
def test_what_is_wrong_is_said_by_name_and_ends_the_start(
    environment, capsys, text, named
):
    environment.setenv("BELLHOP_PLAN_LIMITS", text)

    with pytest.raises(SystemExit):
        Settings.from_env()
    said = capsys.readouterr().err
    assert "BELLHOP_PLAN_LIMITS" in said
    assert named in said


def test_mail_by_smtp_needs_a_server_and_a_sender(environment, capsys):
    environment.setenv("BELLHOP_MAIL_PROVIDER", "smtp")
    with pytest.raises(SystemExit):
        Settings.from_env()
    said = capsys.readouterr().err
    assert "BELLHOP_SMTP_HOST" in said
    assert "BELLHOP_MAIL_FROM" in said

    environment.setenv("BELLHOP_SMTP_HOST", "mail.example.com")
    environment.setenv("BELLHOP_MAIL_FROM", "bellhop@example.com")
    assert Settings.from_env().smtp_port == 587
