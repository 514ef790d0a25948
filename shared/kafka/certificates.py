"""Telling a broker that its certificate files have changed: it reads them anew for the connections to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka import errors as kafka_errors
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from shared.errors import FatalError
from shared.kafka.topics import open_admin
from shared.runtime.settings import KafkaSettings

# Kafka's numbers.
BROKER = 4
SET = 0


async def reload_certificates(
    settings: KafkaSettings, broker_id: int, listeners: Sequence[str], keystore: str, truststore: str
) -> None:
    """Connections that exist go on. The paths are as the broker sees them.

    Of the broker's dynamic settings it sets the four of each listener and leaves the others as they are.
    Raises BrokerUnavailable, AccessDenied, and FatalError when the broker cannot use the files.
    """
    wanted: dict[str, str] = {}
    for listener in listeners:
        prefix = f"listener.name.{listener.lower()}.ssl"
        wanted |= {f"{prefix}.keystore.type": "PEM", f"{prefix}.keystore.location": keystore}
        wanted |= {f"{prefix}.truststore.type": "PEM", f"{prefix}.truststore.location": truststore}
    async with open_admin(settings) as admin:
        answer = await admin._send_request(_SetBrokerSettings(broker_id, wanted), broker_id)
        for code, message, _kind, _name in answer.resources:
            error = kafka_errors.for_code(code)
            if error is kafka_errors.ClusterAuthorizationFailedError:
                raise error(message)
            if error is not kafka_errors.NoError:
                raise FatalError(f"the broker does not take its new certificates: {message or code}")


# aiokafka 0.14 has only the older AlterConfigs, which takes away every dynamic setting that it does not name.


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _SetBrokerSettings(Request[_Question]):  # type: ignore[misc]
    """IncrementalAlterConfigs."""

    API_KEY = 44

    def __init__(self, broker_id: int, wanted: Mapping[str, str]) -> None:
        self._resource = (BROKER, str(broker_id), [(name, SET, value) for name, value in wanted.items()])

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([self._resource], False)
