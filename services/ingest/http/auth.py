"""``/auth``: sessions, and how they begin and end (contract 1.2)."""

from contextlib import suppress
from typing import Final

from aiohttp import web

from libs.common.access import Principal
from libs.common.db import borrow
from libs.common.errors import Unauthorized
from libs.common.store import organizations
from libs.common.tokens import Claims
from services.ingest.answers import auth as shapes
from services.ingest.http.changes import tell_changed
from services.ingest.http.errors import answer
from services.ingest.http.rates import count_login
from services.ingest.http.reading import (
    KEYS,
    POOL,
    SETTINGS,
    credential_of,
    read_body,
    read_optional,
    stranger,
    whoever,
)
from services.ingest.http.registration import require_registration
from services.ingest.http.routing import Route
from services.ingest.requests.auth import (
    CheckEmail,
    CompleteSignup,
    Login,
    Logout,
    Refresh,
    StartEmail,
    Validate,
    VerifyEmail,
)
from services.ingest.requests.checking import checked
from services.ingest.sign_in import SignIn

SIGN_IN: Final = web.AppKey("sign_in", SignIn)

_AUTH: Final = "/api/v1/auth"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            method="POST",
            path=f"{_AUTH}/login",
            handler=login,
            body=Login,
            answers={200: shapes.TokenPair},
            refusals=(400, 401, 422),
            access="anybody",
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/refresh",
            handler=refresh,
            body=Refresh,
            answers={200: shapes.AccessToken},
            refusals=(400, 401, 422),
            access="anybody",
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/validate",
            handler=validate,
            body=Validate,
            answers={200: shapes.Validation},
            refusals=(400, 422),
            access="anybody",
        ),
        Route(
            method="GET",
            path=f"{_AUTH}/me",
            handler=me,
            answers={200: shapes.Me},
            access="session",
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/logout",
            handler=logout,
            body=Logout,
            body_optional=True,
            answers={204: None},
            refusals=(400, 422),
            access="session",
        ),
        *_email_routes(),
    ]


def _email_routes() -> list[Route]:
    return [
        *(
            Route(
                method="GET",
                path=f"{_AUTH}/{path}",
                handler=handler,
                query=CheckEmail,
                answers={200: shapes.EmailCheck},
                refusals=(400, 422),
                access="anybody",
            )
            for path, handler in (
                ("check-email", check_email),
                ("email/check", check_email_too),
            )
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/email/start",
            handler=start_email,
            body=StartEmail,
            answers={200: shapes.CodeSent},
            refusals=(400, 403, 422),
            access="anybody",
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/email/verify",
            handler=verify_email,
            body=VerifyEmail,
            answers={200: shapes.EmailLogin | shapes.EmailSignup},
            refusals=(400, 401, 422),
            access="anybody",
        ),
        Route(
            method="POST",
            path=f"{_AUTH}/signup/complete",
            handler=complete_signup,
            body=CompleteSignup,
            answers={201: shapes.Signup},
            refusals=(400, 401, 403, 409, 422),
            access="anybody",
        ),
    ]


async def login(request: web.Request) -> web.Response:
    """Change an API key for an access token and a refresh token.

    The tokens may do what the key may, and die with it.
    """
    stranger(request)
    asked = await read_body(request, Login)
    count_login(request, request.app[SETTINGS], asked.api_key)
    principal = await request.app[KEYS].principal(asked.api_key)
    if principal.session_id is not None:
        raise Unauthorized("Invalid API key")
    return answer(await request.app[SIGN_IN].begin(principal))


async def refresh(request: web.Request) -> web.Response:
    """Change a refresh token for another access token; it can be used again."""
    stranger(request)
    asked = await read_body(request, Refresh)
    tokens = request.app[SIGN_IN].tokens
    claims = tokens.read(asked.refresh_token)
    if claims.kind != "refresh":
        raise Unauthorized("Invalid token type")
    principal = await request.app[KEYS].of_session(claims)
    shown: shapes.AccessToken = {
        "access_token": tokens.sign(
            "access",
            organization_id=claims.organization_id,
            api_key_id=claims.api_key_id,
            session_id=claims.session_id,
            queues=principal.queues,
            email=claims.email,
        ),
        "token_type": "Bearer",
        "expires_in": tokens.access_seconds,
    }
    return answer(shown)


async def validate(request: web.Request) -> web.Response:
    """Say whether a token is good, and what it says: always 200.

    A refresh token is good as well, as what it is: look at ``token_type``.
    """
    stranger(request)
    asked = await read_body(request, Validate)
    try:
        claims = request.app[SIGN_IN].tokens.read(asked.token)
        await request.app[KEYS].of_session(claims)
    except Unauthorized as error:
        return answer({"valid": False, "error": str(error)})
    return answer({"valid": True, "claims": claims.spelled})


async def me(request: web.Request) -> web.Response:
    """Return who this session is; an API key has none."""
    principal, claims = await _session(request)
    async with borrow(request.app[POOL]) as conn:
        row = await organizations.read_organization(conn, id_=principal.organization_id)
    shown: shapes.Me = {
        "organization_id": str(principal.organization_id),
        "api_key_id": str(principal.api_key_id),
        "queues": list(principal.queues),
        "email": principal.email,
        "issued_at": claims.issued_at,
        "expires_at": claims.expires_at,
        "organization": None
        if row is None
        else {
            "id": str(row["id"]),
            "name": row["name"],
            "slug": row["slug"],
            "plan_tier": row["plan_tier"],
            "billing_email": row["billing_email"],
        },
    }
    return answer(shown)


async def logout(request: web.Request) -> web.Response:
    """End this session: its access and refresh tokens are void everywhere.

    A refresh token of another session of the same organization ends that as well; one
    that is no good is passed over.
    """
    principal, claims = await _session(request)
    asked = await read_optional(request, Logout)
    ended = {claims.session_id}
    if asked.refresh_token:
        # One that is no good is over already: what was wanted.
        with suppress(Unauthorized):
            ended.add(request.app[SIGN_IN].tokens.read(asked.refresh_token).session_id)
    await request.app[SIGN_IN].end(principal.organization_id, ended)
    await tell_changed(request, principal.organization_id)
    return web.Response(status=204)


async def check_email(request: web.Request) -> web.Response:
    """Say whether an address has an organization, and whether it may found one."""
    stranger(request, "check_email")
    asked = checked(CheckEmail, dict(request.query))
    known = await request.app[SIGN_IN].is_known(asked.email)
    shown: shapes.EmailCheck = {
        "available": not known,
        "exists": known,
        "has_organizations": known,
        "signup_enabled": request.app[SETTINGS].registration_mode == "open",
    }
    return answer(shown)


async def check_email_too(request: web.Request) -> web.Response:
    """Do the same under its other path (D8)."""
    return await check_email(request)


async def start_email(request: web.Request) -> web.Response:
    """Mail a code of six digits to an address, known or not: it is not said which."""
    stranger(request, "start_email")
    asked = await read_body(request, StartEmail)
    await request.app[SIGN_IN].send_code(asked.email)
    name, _, domain = asked.email.partition("@")
    shown: shapes.CodeSent = {
        "message": "Login code sent to your email",
        "sent": True,
        "email_sent_to": f"{name[0]}***@{domain}",
    }
    return answer(shown)


async def verify_email(request: web.Request) -> web.Response:
    """Change a code for tokens, or for a token that founds an organization.

    A code is good for ten minutes and five tries, once, and only the newest.
    """
    stranger(request, "verify_email")
    asked = await read_body(request, VerifyEmail)
    return answer(await request.app[SIGN_IN].verify(asked.email, asked.code))


async def complete_signup(request: web.Request) -> web.Response:
    """Found the organization of whoever has shown an address, and sign them in: 201.

    When registration is closed it also takes the admin key.
    """
    require_registration(request)
    asked = await read_body(request, CompleteSignup)
    founded = await request.app[SIGN_IN].found(
        asked.signup_token, name=asked.name, slug=asked.slug
    )
    return answer(founded, status=201)


async def _session(request: web.Request) -> tuple[Principal, Claims]:
    """Return who asks with an access token; an API key is not enough."""
    principal = await whoever(request)
    if principal.session_id is None:
        raise Unauthorized("Invalid token")
    return principal, request.app[SIGN_IN].tokens.read(credential_of(request))
