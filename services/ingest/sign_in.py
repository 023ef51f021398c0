"""Sessions begin and end here: with an API key, or with a code that was mailed.

A session belongs to an API key and has its scope.  Its tokens are good as long as the
session, the key and the organization are; signing out ends the session, and with it
all its tokens, everywhere at once.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common import founding
from libs.common.access import Principal, new_key
from libs.common.db import Conn, Pool, borrow
from libs.common.errors import FeatureDisabled, RateLimited, Unauthorized
from libs.common.ids import new_id
from libs.common.sealing import Sealer
from libs.common.store import api_keys, login_codes, sessions
from libs.common.tokens import SIGNUP_SECONDS, Tokens, derived_keys
from services.ingest.answers import auth as shapes
from services.ingest.mail import Mail

_CODE_VALID: Final = timedelta(minutes=10)
_CODE_DIGITS: Final = 6
_TRIES_MAX: Final = 5
_CODES_MAX: Final = 5
_CODES_WITHIN: Final = timedelta(hours=1)
#: What a key is called that nobody holds: sessions of an address begin on it when the
#: organization has no other.
_KEY_NAME: Final = "E-mail sign-in"
_FIRST_KEY_NAME: Final = "Initial Admin Key"


class SignIn:
    """Begins and ends sessions."""

    def __init__(
        self,
        pool: Pool,
        *,
        tokens: Tokens,
        mail: Mail | None,
        secret_key: str,
        key_prefix: str,
    ) -> None:
        self.tokens: Final = tokens
        self._pool = pool
        self._mail = mail
        self._code_keys: Final = derived_keys(secret_key, "login codes")
        self._sealer: Final = Sealer(secret_key)
        self._key_prefix = key_prefix

    async def begin(self, principal: Principal) -> shapes.TokenPair:
        """Begin a session of whoever showed an API key."""
        async with borrow(self._pool) as conn:
            return await self._begin(
                conn,
                organization_id=principal.organization_id,
                api_key_id=principal.api_key_id,
                queues=principal.queues,
            )

    async def end(self, organization_id: UUID, session_ids: set[UUID]) -> None:
        """End sessions; whoever calls lets everybody know."""
        async with borrow(self._pool) as conn:
            await sessions.end_sessions(
                conn, organization_id=organization_id, ids=session_ids
            )

    async def is_known(self, email: str) -> bool:
        """Whether an address has an organization."""
        async with borrow(self._pool) as conn:
            return await login_codes.find_account(conn, email=email) is not None

    async def send_code(self, email: str) -> None:
        """Mail a code to an address, whether it has an organization or not.

        Raises `RateLimited` after five codes in an hour, `FeatureDisabled` when no mail
        can be sent from here, `Malformed` for an address that the mail server refuses,
        and `Unavailable` when that is away.
        """
        if self._mail is None:
            raise FeatureDisabled("E-mail sign-in is not configured")
        code = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
        id_ = new_id()
        async with borrow(self._pool) as conn, conn.transaction():
            await login_codes.lock_address(conn, email=email)
            sent, wait_seconds = await login_codes.recent_codes(
                conn, email=email, within=_CODES_WITHIN
            )
            if sent >= _CODES_MAX:
                raise _too_many_codes(wait_seconds)
            await login_codes.create_code(
                conn,
                id_=id_,
                email=email,
                code_hmac=_hmac(self._code_keys[0], email, id_, code),
                valid_for=_CODE_VALID,
            )
        await self._mail.send(
            email,
            subject=f"{code} is your Bellhop sign-in code",
            text=(
                f"Your sign-in code is {code}. It is good for ten minutes, once.\n\n"
                "If you did not ask for it, somebody else typed your address; "
                "nothing happens without the code.\n"
            ),
        )

    async def verify(
        self, email: str, code: str
    ) -> shapes.EmailLogin | shapes.EmailSignup:
        """Change a code for tokens, or for a token that founds an organization.

        Raises `Unauthorized`, always with the same words.
        """
        # The try is committed before anything is said about it.
        async with borrow(self._pool) as conn, conn.transaction():
            await login_codes.lock_address(conn, email=email)
            found = await login_codes.try_code(
                conn, email=email, tries_max=_TRIES_MAX, within=_CODE_VALID
            )
            good = found is not None and self._is_good(email, *found, code)
            if found is not None and good:
                await login_codes.use_code(conn, id_=found[0])
        if not good:
            raise Unauthorized("Invalid or expired verification code")
        async with borrow(self._pool) as conn:
            account = await login_codes.find_account(conn, email=email)
            if account is not None:
                key_id = account["api_key_id"] or await self._add_key(
                    conn, account["id"]
                )
                pair = await self._begin(
                    conn, organization_id=account["id"], api_key_id=key_id, email=email
                )
                return {"type": "login", **pair}
        return {
            "type": "signup",
            "signup_token": self.tokens.sign_signup(email),
            "email": email,
            "expires_in": SIGNUP_SECONDS,
        }

    async def found(self, signup_token: str, *, name: str, slug: str) -> shapes.Signup:
        """Found the organization of whoever has shown an address, and sign them in.

        Raises `Unauthorized` when the token is not good, `Conflict` when the slug is
        taken or the address has an organization: a token is good once.
        """
        email = self.tokens.read_signup(signup_token)
        key, digest = new_key(self._key_prefix)
        async with borrow(self._pool) as conn, conn.transaction():
            founded = await founding.found(
                conn,
                sealer=self._sealer,
                name=name,
                slug=slug,
                billing_email=email,
                plan_tier="free",
                key_sha256=digest,
                key_name=_FIRST_KEY_NAME,
            )
            pair = await self._begin(
                conn,
                organization_id=founded.organization["id"],
                api_key_id=founded.key["id"],
                email=email,
            )
        return {
            "organization": {
                "id": str(founded.organization["id"]),
                "name": founded.organization["name"],
                "slug": founded.organization["slug"],
                "billing_email": founded.organization["billing_email"],
            },
            "api_key": key,
            **pair,
        }

    async def _begin(
        self,
        conn: Conn,
        *,
        organization_id: UUID,
        api_key_id: UUID,
        queues: tuple[str, ...] = (),
        email: str | None = None,
    ) -> shapes.TokenPair:
        session_id = new_id()
        await sessions.create_session(
            conn,
            id_=session_id,
            organization_id=organization_id,
            api_key_id=api_key_id,
            email=email,
            lasts=timedelta(seconds=self.tokens.refresh_seconds),
        )
        access, refresh = (
            self.tokens.sign(
                kind,
                organization_id=organization_id,
                api_key_id=api_key_id,
                session_id=session_id,
                queues=queues,
                email=email,
            )
            for kind in ("access", "refresh")
        )
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": self.tokens.access_seconds,
            "refresh_expires_in": self.tokens.refresh_seconds,
        }

    async def _add_key(self, conn: Conn, organization_id: UUID) -> UUID:
        """Add a key that nobody can show, because its text is thrown away."""
        row = await api_keys.create_key(
            conn,
            id_=new_id(),
            organization_id=organization_id,
            key_sha256=new_key()[1],
            name=_KEY_NAME,
        )
        key_id: UUID = row["id"]
        return key_id

    def _is_good(self, email: str, id_: UUID, kept: bytes, code: str) -> bool:
        return any(
            hmac.compare_digest(kept, _hmac(key, email, id_, code))
            for key in self._code_keys
        )


def _hmac(key: bytes, email: str, id_: UUID, code: str) -> bytes:
    return hmac.digest(key, f"{id_} {email} {code}".encode(), hashlib.sha256)


def _too_many_codes(wait_seconds: float) -> RateLimited:
    return RateLimited(
        scope="email",
        limit=_CODES_MAX,
        retry_after_seconds=wait_seconds,
        reset_at=datetime.now(UTC) + timedelta(seconds=wait_seconds),
        window_seconds=int(_CODES_WITHIN.total_seconds()),
    )
