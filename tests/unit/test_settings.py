"""Settings are read once, and everything wrong with them is said at once, by name."""

import os

import pytest
from pydantic import Field, SecretStr, ValidationError

from libs.common.settings import DatabaseSettings, ServiceSettings


class Settings(DatabaseSettings):
    """Of a service of the test's."""

    batch_max: int = Field(default=10, ge=1, le=20)
    secret_key: SecretStr | None = None


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment with nothing in it but what a service must have."""
    for name in os.environ:
        if name.startswith("BELLHOP_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hush@db/bellhop")
    return monkeypatch


def complaints(capsys, settings=Settings):
    """What is printed when the settings are wrong, line by line."""
    with pytest.raises(SystemExit) as exit_:
        settings.from_env()
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_what_is_absent_has_a_default():
    settings = Settings.from_env()

    assert settings.nats_url == "nats://127.0.0.1:4222"
    assert settings.batch_max == 10
    assert not settings.development


def test_variables_are_called_bellhop_something(environment):
    environment.setenv("BELLHOP_BATCH_MAX", "20")
    environment.setenv("BELLHOP_ENVIRONMENT", "development")
    environment.setenv("NATS_URL", "nats://elsewhere:4222")
    environment.setenv("BATCH_MAX", "3")

    settings = Settings.from_env()

    assert (settings.batch_max, settings.development) == (20, True)
    assert settings.nats_url == "nats://elsewhere:4222"


def test_tracing_has_the_names_that_opentelemetry_gave_it(environment, capsys):
    assert not Settings.from_env().traced
    environment.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector/traces")
    assert Settings.from_env().traced

    environment.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    [complaint] = complaints(capsys)
    assert complaint.startswith("OTEL_EXPORTER_OTLP_PROTOCOL: ")


def test_what_is_empty_is_absent(environment):
    """Compose files pass variables on that nobody set."""
    environment.setenv("BELLHOP_BATCH_MAX", "")
    environment.setenv("BELLHOP_SECRET_KEY", "")
    environment.setenv("NATS_URL", "")

    settings = Settings.from_env()

    assert (settings.batch_max, settings.secret_key) == (10, None)
    assert settings.nats_url == "nats://127.0.0.1:4222"


def test_variables_of_others_are_no_concern(environment):
    environment.setenv("BELLHOP_NOBODY_KNOWS_THIS", "1")

    Settings.from_env()


def test_all_that_is_wrong_is_said_at_once_by_the_name_of_the_variable(
    environment, capsys
):
    environment.delenv("DATABASE_URL")
    environment.setenv("BELLHOP_BATCH_MAX", "21")
    # What Kubernetes sets for a Service of this name.
    environment.setenv("BELLHOP_HEALTH_PORT", "tcp://10.0.0.7:9090")
    environment.setenv("BELLHOP_ENVIRONMENT", "staging")

    said = complaints(capsys)

    assert {line.split(":")[0] for line in said} == {
        "DATABASE_URL",
        "BELLHOP_BATCH_MAX",
        "BELLHOP_HEALTH_PORT",
        "BELLHOP_ENVIRONMENT",
    }
    assert len(said) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BELLHOP_HEALTH_PORT", "65536"),
        ("BELLHOP_HEALTH_PORT", "-1"),
        ("BELLHOP_DRAIN_SECONDS", "0"),
        ("BELLHOP_DRAIN_SECONDS", "nan"),
        ("BELLHOP_LOG_LEVEL", "INFO"),
        ("BELLHOP_POOL_SIZE", "0"),
        ("BELLHOP_POOL_SIZE", "ten"),
    ],
)
def test_a_knob_has_its_range(environment, capsys, name, value):
    environment.setenv(name, value)

    [line] = complaints(capsys)

    assert line.startswith(f"{name}: ")


def test_what_is_wrong_is_not_repeated_aloud(environment, capsys):
    class Picky(Settings):
        """A key that must be long."""

        secret_key: SecretStr = Field(min_length=100)

    environment.setenv("BELLHOP_SECRET_KEY", "do not tell")

    [line] = complaints(capsys, Picky)

    assert line.startswith("BELLHOP_SECRET_KEY: ")
    assert "do not tell" not in line


def test_a_secret_is_not_shown(environment):
    environment.setenv("BELLHOP_SECRET_KEY", "do not tell")
    settings = Settings.from_env()

    assert "do not tell" not in repr(settings)
    assert "hush" not in repr(settings)
    assert settings.database_url.get_secret_value().endswith("hush@db/bellhop")


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        setattr(ServiceSettings(), "health_port", 1)  # noqa: B010 - mypy knows better
