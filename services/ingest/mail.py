"""Mails: who carries them, by the settings."""

from email.message import EmailMessage
from typing import Final, Protocol

import aiosmtplib
import structlog

from libs.common.errors import Fault, Malformed, Unavailable
from services.ingest.settings import Settings

log = structlog.get_logger()

_SMTP_SECONDS: Final = 15.0


class Mail(Protocol):
    """Somebody who carries mails."""

    async def send(self, to: str, *, subject: str, text: str) -> None:
        """Return when somebody took it; raises `Unavailable` and `Malformed`."""


def mail_of(settings: Settings) -> Mail | None:
    """Return who carries mails, or None when nobody does."""
    provider = settings.mail_provider
    if provider is None:
        provider = "console" if settings.development else "none"
    if provider == "smtp":
        return SmtpMail(settings)
    return ConsoleMail() if provider == "console" else None


class ConsoleMail:
    """Writes mails into the log, for a machine of one's own."""

    async def send(self, to: str, *, subject: str, text: str) -> None:
        """Write it into the log."""
        log.info("mail.printed", to=to, subject=subject, text=text)


class SmtpMail:
    """Hands mails to a mail server, one connection each: they are few."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, to: str, *, subject: str, text: str) -> None:
        """Hand it over; an address that the server refuses is `Malformed`."""
        settings = self._settings
        message = EmailMessage()
        message["From"], message["To"] = settings.mail_from, to
        message["Subject"] = subject
        message.set_content(text)
        password = settings.smtp_password
        try:
            await aiosmtplib.send(
                message,
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_username,
                password=password.get_secret_value() if password else None,
                use_tls=settings.smtp_security == "tls",
                start_tls=settings.smtp_security == "starttls",
                timeout=_SMTP_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            log.warning("mail.refused", cause=repr(error)[:200])
            raise Malformed(
                Fault("email", "the mail server does not take this address")
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            log.warning("mail.lost", cause=repr(error)[:200])
            raise Unavailable(f"smtp: {error!r}") from error
