"""The broker as the verbs see it: shared.kafka's views, called from synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from compose.control.flavours import SERVERS_VARIABLE, check_cluster
from compose.errors import OperatorError
from shared.errors import BrokerUnavailable, InvalidSettings, PipelineError
from shared.kafka import certificates, groups, lag, reset, scan, topics
from shared.kafka.groups import Group, StoredRecord
from shared.kafka.lag import GroupsSeen
from shared.kafka.scan import Span
from shared.runtime.settings import KafkaSettings, load_settings
from shared.tools.moments import milliseconds

ASK_TIMEOUT_S = 10.0


class KafkaView:
    """Reads one topic of one broker. Every method raises BrokerUnavailable and the like (shared/errors.py)."""

    def __init__(self, bootstrap_servers: str, topic: str, login: Mapping[str, Any]) -> None:
        """`login` are further settings, by the names of fields. Raises InvalidSettings when they contradict."""
        self.topic = topic
        self._settings = load_settings(
            KafkaSettings,
            service_name="control",
            kafka_bootstrap_servers=bootstrap_servers,
            kafka_topic=topic,
            **login,
        )

    def describe(self, names: Sequence[str]) -> tuple[Group, ...]:
        """The groups by name, in that order."""
        return asyncio.run(groups.describe_groups(self._settings, names, self.topic))

    def end_offsets(self) -> dict[int, int]:
        """Next offset by partition; empty when there is no such topic."""
        return asyncio.run(groups.end_offsets(self._settings, self.topic))

    def cluster_id(self) -> str:
        """What the cluster says that it is, within ASK_TIMEOUT_S; empty when it does not say."""
        return asyncio.run(self._cluster_id())

    async def _cluster_id(self) -> str:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S), topics.open_admin(self._settings) as admin:
                return str((await admin.describe_cluster())["cluster_id"] or "")
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer within {ASK_TIMEOUT_S:g} s") from error

    def lagging_copies(self) -> int:
        """How many copies of any topic's partitions are not in sync."""
        return asyncio.run(topics.lagging_copies(self._settings))

    def groups(self, only: str | None, interval_s: float) -> GroupsSeen:
        """Two looks at the groups that read the topic, or at one."""
        return asyncio.run(lag.look_at_groups(self._settings, self.topic, only, interval_s))

    def spans(self) -> dict[int, Span]:
        """What each partition holds; empty when there is no such topic."""
        return asyncio.run(scan.spans(self._settings, self.topic))

    def since(self, held: Mapping[int, Span], moment: datetime) -> dict[int, Span]:
        """What each partition holds from a moment on."""
        return asyncio.run(scan.since(self._settings, self.topic, held, milliseconds(moment)))

    def commit(self, group: str, next_offsets: Mapping[int, int]) -> None:
        """Set what a group without members has committed. Raises OwnershipLost when it has one."""
        asyncio.run(reset.commit_for_group(self._settings, group, self.topic, next_offsets))

    def reload_certificates(self, broker_id: int, listeners: Sequence[str], keystore: str, truststore: str) -> None:
        """Let a broker read its files, at these paths of its own, anew."""
        asyncio.run(certificates.reload_certificates(self._settings, broker_id, listeners, keystore, truststore))

    def holding(self, needle: bytes, start: Mapping[int, int], end: Mapping[int, int]) -> tuple[StoredRecord, ...]:
        """The records between two sets of offsets whose value holds `needle`."""
        return asyncio.run(self._holding(needle, start, end))

    async def _holding(
        self, needle: bytes, start: Mapping[int, int], end: Mapping[int, int]
    ) -> tuple[StoredRecord, ...]:
        records = groups.read_topic(self._settings, self.topic, start, end)
        return tuple([record async for record in records if record.value and needle in record.value])


def ask_cluster(servers: str, known: str, login: Mapping[str, Any], tell: Callable[[str], None]) -> str:
    """The id of a cluster of yours, which is to be `known` if that is not empty.

    Raises OperatorError when it is another one, or does not answer this machine.
    """
    tell(f"Asking the cluster at {servers}.")
    try:
        found = KafkaView(servers, "any", login).cluster_id()
    except InvalidSettings as error:  # the files may be for the containers' user alone
        tell(f"Note: it cannot be asked from here. {error}")
        return known
    except PipelineError as error:
        raise OperatorError(
            f"{SERVERS_VARIABLE}={servers}: {str(error).rstrip('.')}. Nothing was changed.",
            "Mend the address or the cluster, and run the same command again. A login: docs/security.md",
        ) from error
    check_cluster(servers, found, known)
    return found
