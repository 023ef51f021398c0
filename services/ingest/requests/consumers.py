"""What programs may ask of a durable consumer of the event stream."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_PART = r"([A-Za-z0-9_%@-]+|\*)"


class WantedConsumer(BaseModel):
    """Which events of its organization a consumer has."""

    model_config = ConfigDict(extra="forbid")

    filter: Annotated[
        str, Field(max_length=512, pattern=rf"^({_PART}\.)*({_PART}|>)$")
    ] = ">"
    """What stands behind the organization in their subjects, with wildcards of NATS:
    ``mail.>`` are those of a queue, ``@worker.>`` those of workers.
    """
