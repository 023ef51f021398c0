"""Every metric that the code has, by the service that shows it."""

import importlib
import pkgutil
from dataclasses import dataclass

from prometheus_client import REGISTRY

import libs.common
import services

EVERYBODY = "Every service"


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """One metric, by the name that its samples begin with."""

    service: str
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> set[str]:
        """The names that its samples have."""
        if self.kind == "histogram":
            return {f"{self.name}_{part}" for part in ("bucket", "sum", "count")}
        return {self.name}

    @property
    def row(self) -> str:
        """How it stands in a table."""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{self.name}` | {self.kind} | {labels} | {self.meaning} |"


def all_metrics() -> list[Known]:
    """Return every metric of ours, once."""
    owners: dict[int, str] = {}
    for module in list(_modules()):
        _, name, *_ = module.__name__.split(".")
        for value in vars(module).values():
            owner = EVERYBODY if module.__name__.startswith("libs.") else name
            owners.setdefault(id(value), owner)
    return sorted(
        Known(
            service=owners[id(collector)],
            name=_name(family),
            kind=family.type,
            labels=_labels(collector, family),
            meaning=family.documentation,
        )
        for collector in REGISTRY._collector_to_names
        for family in collector.collect()
        if family.name.startswith(("bellhop_", "spooled_"))
    )


def _modules():
    """Yield what may keep metrics; the common library first."""
    for package in (libs.common, services):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _name(family):
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(collector, family):
    named = getattr(collector, "_labelnames", None)
    if named is None:
        named = {label for one in family.samples for label in one.labels} - {"le"}
    return tuple(named)
