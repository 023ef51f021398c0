"""What services show of themselves at ``/metrics``, read as Prometheus reads it."""

from dataclasses import dataclass

import aiohttp
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


@dataclass
class Figures:
    """The families of one process, by name."""

    families: dict[str, Metric]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples called *name* that have these labels."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {
            sample.name
            for family in self.families.values()
            for sample in family.samples
        }

    def labels(self) -> set[tuple[str, str]]:
        """Return every label there is, with its value."""
        return {
            pair
            for family in self.families.values()
            for sample in family.samples
            for pair in sample.labels.items()
        }


async def figures_at(url: str) -> Figures:
    """Return what stands at ``/metrics`` below *url*."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return Figures({one.name: one for one in text_string_to_metric_families(text)})
