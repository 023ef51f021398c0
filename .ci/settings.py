"""The reference of the settings, in ``docs/configuration.md``, made from their models.

python .ci/settings.py            # writes the table of each of its sections
python .ci/settings.py --check    # ends with 1 when one is not as the models say

What a setting is for stands below it, in the model.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from libs.cli.settings import StackSettings
from libs.common.settings import DatabaseSettings, PlanSettings, ServiceSettings
from services.delivery.settings import Settings as DeliverySettings
from services.dispatcher.settings import Settings as DispatcherSettings
from services.ingest.settings import Settings as IngestSettings
from services.scheduler.settings import Settings as SchedulerSettings
from services.streamer.settings import Settings as StreamerSettings

PAGE: Final = Path(__file__).parents[1] / "docs/configuration.md"
#: The sections, and the model whose own settings each shows.
SECTIONS: Final[dict[str, type[BaseSettings]]] = {
    "Every service": ServiceSettings,
    "Services with a database": DatabaseSettings,
    "Services that create jobs": PlanSettings,
    "ingest": IngestSettings,
    "dispatcher": DispatcherSettings,
    "delivery": DeliverySettings,
    "scheduler": SchedulerSettings,
    "streamer": StreamerSettings,
    "The stack on this machine": StackSettings,
}
HEAD: Final = "| variable | default | what |\n|---|---|---|\n"


def variable(name: str, field: FieldInfo) -> str:
    """Return the environment variable that a setting is read from."""
    return str(field.validation_alias or f"BELLHOP_{name.upper()}")


def default(field: FieldInfo) -> str:
    """Return the default as the page spells it."""
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    value = field.default
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def table(model: type[BaseSettings]) -> str:
    """Return the table of what *model* adds to its base, or says otherwise."""
    rows = ""
    for name in model.__annotations__:
        field = model.model_fields.get(name)
        if field is not None:
            if not field.description:
                raise SystemExit(f"{model.__module__}: nothing is said about {name}")
            what = " ".join(field.description.split())
            rows += f"| `{variable(name, field)}` | {default(field)} | {what} |\n"
    return HEAD + rows


def page(text: str) -> str:
    """Return the page with the tables of all sections as the models say."""
    for title, model in SECTIONS.items():
        section = rf"(?m)^## {re.escape(title)}\n(?:(?!^## |^\|).*\n)*((?:^\|.*\n)+)"
        found = re.search(section, text)
        if found is None:
            raise SystemExit(f"{PAGE.name}: there is no table under '## {title}'")
        text = text[: found.start(1)] + table(model) + text[found.end(1) :]
    return text


def main() -> int:
    """Write the page, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    found = PAGE.read_text()
    made = page(found)
    if not asked.check:
        PAGE.write_text(made)
    elif made != found:
        print(f"{PAGE.name} is not as the settings are: make settings", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
