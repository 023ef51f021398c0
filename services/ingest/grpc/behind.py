"""What stands behind the gRPC door: the same as behind REST."""

from dataclasses import dataclass

from libs.common.bus import Bus
from libs.common.db import Pool
from services.ingest.claims import Claims
from services.ingest.grpc.admission import Admission
from services.ingest.heartbeats import Heartbeats
from services.ingest.intake import Intake
from services.ingest.messages import MessageIntake
from services.ingest.settlement import Settlement
from services.ingest.subscribers import Subscribers


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """*pool* is for questions, *hot* for what is on the way of a job."""

    pool: Pool
    hot: Pool
    bus: Bus
    admission: Admission
    intake: Intake
    messages: MessageIntake
    subscribers: Subscribers
    claims: Claims
    settlement: Settlement
    heartbeats: Heartbeats
