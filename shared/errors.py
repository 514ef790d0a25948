"""Every error that crosses a module of this project, in one tree.

    PipelineError
    ├── RetryableError          the same call may succeed later; back off and try again
    │   ├── BrokerUnavailable   no broker answers, or it has no answer yet
    │   ├── DeliveryFailed      a batch was not confirmed; the producer client must be replaced
    │   ├── StandingBy          another producer of this name is alive; wait until it is gone
    │   ├── OwnershipLost       the group gave these partitions to another member
    │   ├── SinkUnavailable     the sink is away: no fault of the batch, wait until it is back
    │   └── BatchFailed         the sink is there and failed at this batch; it may take it the next time
    ├── RecordsRejected         the sink will never take these records; set them aside
    ├── InvalidRequest          somebody asked over HTTP for what there is not; the answer says so
    └── FatalError              no repetition helps; the process says why and exits
        ├── InvalidSettings     a setting is missing or wrong
        ├── AccessDenied        the broker refuses this client
        ├── Fenced              another producer of this name took over
        └── HandlerNotFound     HANDLER or TRANSFORM names no function of the right kind

A RetryableError or RecordsRejected is handled by the pipeline that called, an InvalidRequest by the HTTP server, a
FatalError by the entry point alone.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Root of the tree; the message is a whole sentence for the operator."""


class RetryableError(PipelineError):
    """The same call may succeed later."""


class BrokerUnavailable(RetryableError):
    """No broker answers, or the one that does has no answer yet."""


class DeliveryFailed(RetryableError):
    """A batch was not confirmed. What is unconfirmed must be sent again by a new client."""


class StandingBy(RetryableError):
    """Another producer of the same name is alive; this one may go on when it is gone."""


class OwnershipLost(RetryableError):
    """The partitions belong to another member of the group now; drop what is in flight."""


class SinkUnavailable(RetryableError):
    """The sink is away or full. Nothing is wrong with the batch: it waits, and is never set aside for this."""


class BatchFailed(RetryableError):
    """The sink failed at this batch. When it goes on failing, the records that it fails at are set aside.

    `cause_name` is the type of what it raised.
    """

    def __init__(self, message: str, cause_name: str) -> None:
        super().__init__(message)
        self.cause_name = cause_name


class RecordsRejected(PipelineError):
    """The sink will never take these records of the batch; it has taken nothing of the batch yet.

    `offsets` are those of the records; None when the sink cannot tell which of the batch. `cause_name` is the type of
    what it raised.
    """

    def __init__(self, message: str, cause_name: str, offsets: frozenset[int] | None = None) -> None:
        super().__init__(message)
        self.cause_name = cause_name
        self.offsets = offsets


class InvalidRequest(PipelineError):
    """What was asked for over HTTP is not possible; the message names it and what is allowed."""


class FatalError(PipelineError):
    """No repetition helps."""


class InvalidSettings(FatalError):
    """A setting is missing or wrong; the message names it, its value and what is allowed."""


class AccessDenied(FatalError):
    """The broker refuses this client."""


class Fenced(FatalError):
    """Another producer of the same name took over; nothing that this one sends counts any more."""


class HandlerNotFound(FatalError):
    """HANDLER or TRANSFORM does not name a function of the right kind that can be imported."""
