"""The schemas that producer and consumer share."""

from shared.schemas.access_record import SCHEMA_VERSION, AccessRecord, Connection, Details, Server, Source, Upstream
from shared.schemas.dead_letter import DeadLetter, DeadLetterReason

__all__ = [
    "SCHEMA_VERSION",
    "AccessRecord",
    "Connection",
    "DeadLetter",
    "DeadLetterReason",
    "Details",
    "Server",
    "Source",
    "Upstream",
]
