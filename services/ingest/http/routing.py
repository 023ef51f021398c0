"""The routes, each described where it is defined: what it takes and what it answers.

``/openapi.json`` is made from these descriptions and from the shapes they name, which
are the shapes that check.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Who may call a route: anybody, who has a key (or a session), who has a session (a
#: JWT), or the administrator.
Access = Literal["anybody", "key", "session", "admin"]

_PLACEHOLDER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")


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
    #: Media types of a body that is taken as it comes, and checked by nobody's shape.
    takes: tuple[str, ...] = ()
    query: type[BaseModel] | None = None
    #: Headers of the request that mean something to this route, and what.
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=lambda: {200: Any})
    refusals: tuple[int, ...] = ()
    access: Access = "key"
    #: What the answer's body is, when it is not JSON.
    media_type: str = "application/json"
    #: A success may be an empty text instead.
    silent: bool = False

    @property
    def name(self) -> str:
        """The operation's id: module and handler, e.g. ``jobs_create``."""
        return f"{self.module}_{self.handler.__name__.strip('_')}"

    @property
    def module(self) -> str:
        """The module of the handler: what the route is about."""
        return self.handler.__module__.rpartition(".")[2]

    @property
    def words(self) -> str:
        """The handler's docstring."""
        return inspect.getdoc(self.handler) or ""

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it: without patterns."""
        return _PLACEHOLDER.sub(r"{\1}", self.path)

    @property
    def placeholders(self) -> list[str]:
        """The names in the path."""
        return _PLACEHOLDER.findall(self.path)


def add_routes(app: web.Application, routes: list[Route]) -> None:
    """Add *routes* in their order: the first that matches answers.

    What can be got can be asked for without its body, too (RFC 9110, section 9.3.2).
    """
    app[ROUTES].extend(routes)
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler)
        else:
            app.router.add_route(route.method, route.path, route.handler)


ROUTES: Final = web.AppKey("routes", list[Route])
