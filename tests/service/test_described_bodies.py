"""The shape that describes a body is the shape that checks it."""

import pytest

from tests.support.furnished import furnish
from tests.support.house import run_house
from tests.support.walking import DESCRIBED, label, requests_of


@pytest.fixture
async def house(database_url, nats_url):
    async with run_house(database_url, nats_url, services=("ingest",)) as house:
        yield house


async def test_a_body_of_another_shape_is_refused_by_its_name(api):
    owned = await furnish(api)
    wrong = []
    for route in DESCRIBED:
        if route.access != "key" or route.body is None:
            continue
        fields = route.body.model_json_schema()
        for path, good in requests_of(route, owned):
            asked: list[tuple[object, str]] = [([], "body")]
            asked += [
                (
                    {name: one for name, one in good.items() if name != left_out},
                    left_out,
                )
                for left_out in fields.get("required", ())
                if left_out in good
            ]
            for body, field in asked:
                status, error, _ = await api.ask(route.method, path, json=body)
                named = [fault["field"] for fault in (error or {}).get("details", [])]
                if status != 422 or not any(one.startswith(field) for one in named):
                    wrong.append((label(route), body, status, error))

    assert wrong == []
