"""``/admin/organizations``: what the administrator does to organizations (1.13)."""

from typing import Any, Final
from uuid import UUID

import orjson
from aiohttp import web

from libs.common import founding
from libs.common.access import new_key
from libs.common.db import Row, borrow
from libs.common.errors import NotFound
from libs.common.plans import Plan, plan_of
from libs.common.store import organizations, overview, tallies, usage
from services.ingest.answers import admin as shapes
from services.ingest.answers import keys as key_shapes
from services.ingest.answers import organizations as organization_shapes
from services.ingest.answers.usage import usage_info
from services.ingest.http import keys
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.reading import (
    POOL,
    SEALER,
    SETTINGS,
    id_in_path,
    number,
    read_body,
    require_admin,
)
from services.ingest.http.routing import Handler, Route
from services.ingest.requests.admin import (
    AdminChangeOrganization,
    AdminCreateKey,
    AdminCreateOrganization,
    DeleteOrganization,
    ListOrganizations,
    stored,
)
from services.ingest.requests.checking import checked

_OFFSET_MAX: Final = 1_000_000
#: What null takes away; of everything else null keeps what is there.
_RESETTABLE: Final = ("custom_limits", "stripe_customer_id", "stripe_subscription_id")


def routes() -> list[Route]:
    """Return the routes."""
    return [*_of_all(), *_of_one()]


def _of_all() -> list[Route]:
    path = "/api/v1/admin/organizations"
    return [
        Route(
            method="GET",
            path=path,
            handler=list_,
            query=ListOrganizations,
            answers={200: shapes.OrganizationPage},
            refusals=(400,),
            access="admin",
        ),
        Route(
            method="POST",
            path=path,
            handler=create,
            body=AdminCreateOrganization,
            answers={201: organization_shapes.NewOrganization},
            refusals=(400, 409, 422),
            access="admin",
        ),
    ]


def _of_one() -> list[Route]:
    path = "/api/v1/admin/organizations/{id}"
    return [
        Route(
            method="GET",
            path=path,
            handler=read,
            answers={200: shapes.ManagedOrganization},
            refusals=(404,),
            access="admin",
        ),
        _changing("PATCH", change),
        _changing("PUT", replace),
        Route(
            method="DELETE",
            path=path,
            handler=delete,
            query=DeleteOrganization,
            answers={204: None},
            refusals=(400, 404, 422),
            access="admin",
        ),
        Route(
            method="POST",
            path=f"{path}/api-keys",
            handler=create_key,
            body=AdminCreateKey,
            answers={201: key_shapes.NewKey},
            refusals=(400, 404, 422),
            access="admin",
        ),
        Route(
            method="POST",
            path=f"{path}/reset-usage",
            handler=reset_usage,
            answers={204: None},
            refusals=(404,),
            access="admin",
        ),
    ]


def _changing(method: str, handler: Handler) -> Route:
    return Route(
        method=method,
        path="/api/v1/admin/organizations/{id}",
        handler=handler,
        body=AdminChangeOrganization,
        answers={200: organization_shapes.Organization},
        refusals=(400, 404, 409, 422),
        access="admin",
    )


async def list_(request: web.Request) -> web.Response:
    """Return a page of organizations with what they have, and how many there are.

    Closed ones are listed only under ``plan_tier=deleted``.
    """
    require_admin(request)
    query = {name: value for name, value in request.query.items() if value}
    # What is out of range is moved into it, never refused (D21).
    limit = number(request, "limit", default=50, least=1, most=100)
    offset = number(request, "offset", default=0, least=0, most=_OFFSET_MAX)
    asked = checked(ListOrganizations, {**query, "limit": limit, "offset": offset})
    async with borrow(request.app[POOL]) as conn:
        rows = await organizations.list_organizations(
            conn,
            plan_tier=asked.plan_tier,
            search=asked.search,
            sort_by=asked.sort_by,
            descending=asked.sort_order == "desc",
            limit=limit,
            offset=offset,
        )
        total = await organizations.count_listed(
            conn, plan_tier=asked.plan_tier, search=asked.search
        )
        used = await overview.usage_of(
            conn, organization_ids=[row["id"] for row in rows]
        )
    shown: shapes.OrganizationPage = {
        "organizations": [shapes.listed(row, used[row["id"]]) for row in rows],
        "total": total,
        "limit": limit,
        "offset": offset,
    }
    return answer(shown)


async def create(request: web.Request) -> web.Response:
    """Create an organization on any plan, with its first key, shown this once."""
    require_admin(request)
    asked = await read_body(request, AdminCreateOrganization)
    key, digest = new_key(request.app[SETTINGS].api_key_prefix)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        founded = await founding.found(
            conn,
            sealer=request.app[SEALER],
            name=asked.name,
            slug=asked.slug,
            billing_email=asked.billing_email,
            plan_tier=asked.plan_tier,
            key_sha256=digest,
            key_name="Initial Admin Key",
        )
        await organizations.change_organization(
            conn, id_=founded.organization["id"], settings=_spelled(asked.settings)
        )
        row = await organizations.change_account(
            conn,
            id_=founded.organization["id"],
            plan_tier=asked.plan_tier,
            changes={"custom_limits": _spelled(stored(asked.custom_limits))},
        )
    shown: organization_shapes.NewOrganization = {
        "organization": organization_shapes.organization(_found(row)),
        "api_key": key_shapes.new_key(founded.key, secret=key),
    }
    return answer(shown, status=201)


async def read(request: web.Request) -> web.Response:
    """Return an organization with its plan, and how much of it is used."""
    require_admin(request)
    id_ = id_in_path(request)
    async with borrow(request.app[POOL]) as conn:
        row = _found(await organizations.read_organization(conn, id_=id_))
        plan = _plan(request, row)
        used = await usage.read(conn, organization_id=id_, counted=not plan.unlimited)
        figures = await tallies.of_organization(conn, organization_id=id_)
    info = usage_info(plan, used)
    return answer(shapes.managed(row, info=info, total_jobs=figures.total))


async def change(request: web.Request) -> web.Response:
    """Change an organization: absent keeps what is there.

    Null resets custom limits and Stripe ids, and keeps the others.  A closed
    organization is opened again by giving it a plan; its keys stay revoked.
    """
    require_admin(request)
    id_ = id_in_path(request)
    asked = await read_body(request, AdminChangeOrganization)
    given: dict[str, Any] = {
        name: getattr(asked, name)
        for name in _RESETTABLE
        if name in asked.model_fields_set
    }
    if "custom_limits" in given:
        given["custom_limits"] = _spelled(stored(asked.custom_limits))
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        await organizations.change_organization(
            conn,
            id_=id_,
            name=asked.name,
            billing_email=asked.billing_email,
            settings=_spelled(asked.settings),
        )
        row = await organizations.change_account(
            conn,
            id_=id_,
            plan_tier=asked.plan_tier,
            weight=asked.weight,
            changes=given,
        )
    shown = organization_shapes.organization(_found(row))
    await tell_changed(request, id_)
    return answer(shown)


async def replace(request: web.Request) -> web.Response:
    """Do the same as ``PATCH``, for clients that say ``PUT``."""
    return await change(request)


async def delete(request: web.Request) -> web.Response:
    """Close an organization; or, when asked to, erase it with everything it has.

    A closed one is kept, its keys are revoked.  An erased one is not found any more
    from now on; its jobs are deleted within a while.
    """
    require_admin(request)
    id_ = id_in_path(request)
    query = {name: value for name, value in request.query.items() if value}
    asked = checked(DeleteOrganization, query)
    async with borrow(request.app[POOL]) as conn:
        if asked.hard or asked.hard_delete:
            done = await organizations.give_up(conn, id_=id_)
        else:
            done = await organizations.close_organization(conn, id_=id_)
    if not done:
        raise NotFound("Resource not found")
    await tell_changed(request, id_)
    return web.Response(status=204)


async def create_key(request: web.Request) -> web.Response:
    """Create a key for an organization, whatever its plan; it is shown this once."""
    require_admin(request)
    id_ = id_in_path(request)
    asked = await read_body(request, AdminCreateKey)
    async with borrow(request.app[POOL]) as conn, conn.transaction():
        if not await organizations.lock_organization(conn, id_=id_):
            raise NotFound("Resource not found")
        shown = await keys.made(
            conn,
            organization_id=id_,
            asked=asked,
            prefix=request.app[SETTINGS].api_key_prefix,
        )
    return answer(shown, status=201)


async def reset_usage(request: web.Request) -> web.Response:
    """Count an organization's jobs of today from nothing again."""
    require_admin(request)
    id_: UUID = id_in_path(request)
    async with borrow(request.app[POOL]) as conn:
        _found(await organizations.read_organization(conn, id_=id_))
        await usage.reset(conn, organization_id=id_)
    await tell_changed(request, id_)
    return web.Response(status=204)


def _plan(request: web.Request, row: Row) -> Plan:
    limits = row["custom_limits"]
    return plan_of(
        row["plan_tier"],
        custom_limits=None if limits is None else orjson.loads(limits),
        operator=request.app[SETTINGS].plan_limits,
    )


def _spelled(value: dict[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("Resource not found")
    return row
