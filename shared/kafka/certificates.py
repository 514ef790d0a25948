"""Telling a broker that its certificate files have changed: it reads them anew for the connections to come."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import errors as kafka_errors
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.errors import FatalError
from shared.kafka.topics import open_admin
from shared.runtime.settings import KafkaSettings


async def reload_certificates(
    settings: KafkaSettings, broker_id: int, listeners: Sequence[str], keystore: str, truststore: str
) -> None:
    """Connections that exist go on. The paths are as the broker sees them.

    It sets what the broker has of dynamic settings of its own: the four of each listener, and nothing else.
    Raises BrokerUnavailable, AccessDenied, and FatalError when the broker cannot use the files.
    """
    wanted: dict[str, str] = {}
    for listener in listeners:
        prefix = f"listener.name.{listener.lower()}.ssl"
        wanted |= {f"{prefix}.keystore.type": "PEM", f"{prefix}.keystore.location": keystore}
        wanted |= {f"{prefix}.truststore.type": "PEM", f"{prefix}.truststore.location": truststore}
    resource = ConfigResource(ConfigResourceType.BROKER, str(broker_id), configs=wanted)
    async with open_admin(settings) as admin:
        for answer in await admin.alter_configs([resource]):
            for code, message, _kind, _name in answer.resources:
                if code != kafka_errors.NoError.errno:
                    raise FatalError(f"the broker does not take its new certificates: {message or code}")
