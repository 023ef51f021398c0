"""Logging: an event name and key-values; JSON for machines, colours for people.

Never payloads, never keys, never local variables.  *info*: it happened; *warning*:
it was survived; *error*: a person should look.
"""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

FOR_PEOPLE: Final[list[Processor]] = [
    # Local variables hold payloads and passwords: never show them.
    structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
]
FOR_MACHINES: Final[list[Processor]] = [
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    ),
    structlog.processors.JSONRenderer(),
]


def start_logging(service: str, *, level: str) -> None:
    """Log to stderr from now on, every line with the name of *service*."""
    rendering = FOR_PEOPLE if sys.stderr.isatty() else FOR_MACHINES
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries log through the standard library; their warnings are ours too.
    logging.basicConfig(
        level=logging.WARNING, format="%(name)s %(message)s", stream=sys.stderr
    )
