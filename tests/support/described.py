"""A client that holds every answer against the description of the API."""

import re
from functools import cache
from typing import Any

import jsonschema_rs

from services.ingest.http import openapi
from tests.support.house import Api
from tests.support.walking import EVERY_ROUTE

DOCUMENT = openapi.document(EVERY_ROUTE)


def described(api: Api) -> Api:
    """Return the same client, which lets no answer pass that is not described."""
    return _Described(api.base_url, api.session, api.tenant)


class _Described(Api):
    async def ask(self, method, path, *, expect=None, headers=None, **kwargs):
        status, data, said = await super().ask(method, path, headers=headers, **kwargs)
        _check(method, path.partition("?")[0], status, data)
        if expect is None:
            return status, data, said
        assert status == expect, (status, data)
        return data


def _check(method: str, path: str, status: int, data: Any) -> None:
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(pattern, f"/api/v1{path}") and method.lower() in operations:
            break
    else:
        raise AssertionError(f"{method} {path} is not described")
    validator = _validator(template, method.lower(), str(status))
    if validator is None:
        assert data is None, data
    else:
        validator.validate(data)


@cache
def _validator(template: str, method: str, status: str) -> Any:
    """Return what checks an answer's body; None when there must be none."""
    responses = DOCUMENT["paths"][template][method]["responses"]
    assert status in responses, f"{method} {template}: {status} is not described"
    response = responses[status]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][status]
    if "content" not in response:
        return None
    schema = response["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}
    )
