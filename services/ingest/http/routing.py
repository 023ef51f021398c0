"""The routes, each described where it is defined: what it takes and what it answers.

``/openapi.json`` is made from these descriptions and from the shapes they name, which
are the shapes that check.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Who may call a route: anybody, who has a key (or a session), who has a session (a
#: JWT), or the administrator.
Access = Literal["anybody", "key", "session", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route.

    *body* and *query* are the shapes that check it.  *answers* gives for each status
    that is a success the type of its body: anything pydantic can describe (a model, a
    ``TypedDict``, ``list[…]``), or None for an empty one.  *refusals* are the statuses
    it can refuse with, beside those that every route of its *access* has.
    Summary and description are the handler's docstring, the tag is its module.
    """

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    #: An absent or empty body is an empty object.
    body_optional: bool = False
    query: type[BaseModel] | None = None
    answers: Mapping[int, Any] = field(default_factory=lambda: {200: Any})
    refusals: tuple[int, ...] = ()
    access: Access = "key"
    #: What the body is, when it is not JSON.
    media_type: str = "application/json"

    @property
    def name(self) -> str:
        """The operation's id: module and handler, e.g. ``jobs_create``."""
        module = self.handler.__module__.rpartition(".")[2]
        return f"{module}_{self.handler.__name__.strip('_')}"


def add_routes(app: web.Application, routes: list[Route]) -> None:
    """Add *routes* in their order: the first that matches answers."""
    app[ROUTES].extend(routes)
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)


ROUTES: Final = web.AppKey("routes", list[Route])
