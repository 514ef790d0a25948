"""What a group has committed, from the answers of a coordinator that still loads."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from shared.kafka import committed
from shared.kafka.committed import committed_offsets, every_commit

COMMITS = [("t", [(0, 7, "", 0), (1, -1, "", 0)]), ("other", [(0, 9, "", 0)])]


class Coordinator:
    """Answers OffsetFetch with one answer after the other, in the form that the client decodes to."""

    def __init__(self, *answers: tuple[list[Any], int]) -> None:
        self.answers = [OffsetFetchResponse_v3(0, *answer) for answer in answers]

    async def coordinator_lookup(self, *_asked: object) -> int:
        return 1

    async def send(self, _node: int, _request: object) -> OffsetFetchResponse_v3:
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed, "RETRY_BACKOFF_MS", 0)


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.CoordinatorLoadInProgressError,
        kafka_errors.CoordinatorNotAvailableError,
        kafka_errors.NotCoordinatorError,
    ],
)
async def test_an_error_of_the_whole_group_is_not_taken_for_nothing(error: type[kafka_errors.KafkaError]) -> None:
    """It names no partition: whoever looks at those alone sees a group that never committed."""
    client = Coordinator(([], error.errno), (COMMITS, 0))
    assert await every_commit(cast("AIOKafkaClient", client), "g", "t") == {0: 7}
    client = Coordinator(([], error.errno), (COMMITS, 0))
    assert await committed_offsets(cast("AIOKafkaClient", client), "g", "t", [0, 1, 2]) == {0: 7, 1: None, 2: None}


async def test_other_errors_are_raised() -> None:
    for answer in (([], 30), ([("t", [(0, -1, "", 29)])], 0)):
        with pytest.raises(kafka_errors.KafkaError):
            await every_commit(cast("AIOKafkaClient", Coordinator(answer)), "g", "t")
