"""What may be asked of billing (contract 1.12)."""

from typing import Annotated

from pydantic import BaseModel, Field

from services.ingest.requests.fields import PlainText


class OpenPortal(BaseModel):
    """Where the billing provider's pages would lead back to."""

    return_url: Annotated[
        PlainText, Field(min_length=1, max_length=2048, pattern=r"^https?://[^\s]+$")
    ]
    """The page to come back to."""
