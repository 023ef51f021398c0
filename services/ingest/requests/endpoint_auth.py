"""How an endpoint is shown who we are, and how it shows who it is: the shapes.

What is given here is sealed, and never shown again.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from libs.common import endpoints as sealed
from libs.common.headers import BadHeader, check_header
from libs.common.tls import PEM_CHARS_MAX
from services.ingest.requests.fields import PlainText


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("control", "must not contain control characters")
    return value


def _visible(value: str) -> str:
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise PydanticCustomError("visible", "must be printable ASCII without blanks")
    return value


Printable = Annotated[
    str, Field(min_length=1, max_length=1024), AfterValidator(_printable)
]
Visible = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_visible)]
Pem = Annotated[PlainText, Field(min_length=1, max_length=PEM_CHARS_MAX)]


class _Auth(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class BasicAuth(_Auth):
    """A name and a password with every request (RFC 7617)."""

    kind: Literal["basic"]
    """A name and a password."""
    username: Printable
    """The name; no colon."""
    password: Annotated[str, Field(max_length=1024), AfterValidator(_printable)]
    """The password."""

    @model_validator(mode="after")
    def _has_no_colon(self) -> "BasicAuth":
        if ":" in self.username:
            raise PydanticCustomError("colon", "the username must not contain a colon")
        return self

    def to_seal(self) -> sealed.Auth:
        """Return what is sealed of it."""
        return sealed.Basic(username=self.username, password=self.password)


class BearerAuth(_Auth):
    """A token that does not change with every request (RFC 6750)."""

    kind: Literal["bearer"]
    """A token that does not change."""
    token: Visible
    """The token."""

    def to_seal(self) -> sealed.Auth:
        """Return what is sealed of it."""
        return sealed.Bearer(token=self.token)


class ApiKeyAuth(_Auth):
    """A key in a header of the endpoint's choice with every request."""

    kind: Literal["api_key"]
    """A key in a header."""
    header: Annotated[str, Field(min_length=1, max_length=255)]
    """The name of the header, such as ``X-API-Key``."""
    value: Visible
    """The key."""

    @model_validator(mode="after")
    def _is_sendable(self) -> "ApiKeyAuth":
        try:
            check_header(self.header, self.value)
        except BadHeader as error:
            raise PydanticCustomError(
                "header", "{words}", {"words": str(error)}
            ) from None
        return self

    def to_seal(self) -> sealed.Auth:
        """Return what is sealed of it."""
        return sealed.ApiKey(header=self.header, value=self.value)


class OAuth2Auth(_Auth):
    """A token of an authorization server, got with client credentials (RFC 6749, 4.4).

    It is kept until it ends, and got anew when the endpoint answers 401.
    """

    kind: Literal["oauth2"]
    """A token got with client credentials."""
    token_url: Annotated[str, Field(min_length=1, max_length=2048)]
    """Where tokens are given: http or https, to a public address in production."""
    client_id: Printable
    """Who we are there."""
    client_secret: Printable
    """The secret that shows it."""
    scope: Printable | None = None
    """What for, in the words of the server; absent is what it gives by itself."""
    audience: Printable | None = None
    """For whom, where the server wants to know."""

    def to_seal(self) -> sealed.Auth:
        """Return what is sealed of it."""
        return sealed.OAuth2(
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            scope=self.scope,
            audience=self.audience,
        )


EndpointAuth = Annotated[
    BasicAuth | BearerAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="kind")
]
#: What of them is no secret.
SHOWN: frozenset[str] = frozenset(
    {"kind", "username", "header", "token_url", "client_id", "scope", "audience"}
)


def shown(auth: EndpointAuth) -> dict[str, Any]:
    """Return what of *auth* may be shown."""
    return auth.model_dump(include=set(SHOWN), exclude_none=True)


class EndpointTls(BaseModel):
    """Certificates for the connection to an endpoint, as PEM.

    With a client certificate the endpoint sees who we are (mTLS); with authorities of
    its own, certificates of these and of no others are taken.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    client_certificate: Pem | None = None
    """Our certificate, with those that lead up to its authority; needs the key."""
    client_key: Pem | None = None
    """The private key of our certificate, not encrypted."""
    ca: Pem | None = None
    """The authorities whose certificates are taken; absent is those of the system."""

    @model_validator(mode="after")
    def _is_whole(self) -> "EndpointTls":
        if (self.client_certificate is None) != (self.client_key is None):
            raise PydanticCustomError(
                "pair", "client_certificate and client_key go together"
            )
        if self.client_certificate is None and self.ca is None:
            raise PydanticCustomError("empty", "must have a client certificate or a ca")
        return self

    def to_seal(self) -> sealed.Tls:
        """Return what is sealed of it."""
        return sealed.Tls(
            client_certificate=self.client_certificate,
            client_key=self.client_key,
            ca=self.ca,
        )
