"""The one error that the make verbs raise for the operator."""

from __future__ import annotations

from shared.errors import FatalError


class OperatorError(FatalError):
    """Something the person at the keyboard must know: what happened, and the next step to take.

    Belongs to the tree of shared/errors.py; it is defined here because no service raises it.
    """

    def __init__(self, what_happened: str, next_step: str) -> None:
        super().__init__(what_happened)
        self.next_step = next_step
