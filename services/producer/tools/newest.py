"""The newest checkpoint of the producer, wherever it is kept."""

from __future__ import annotations

from services.producer.deliver.checkpoint import Checkpoint, CheckpointStore
from services.producer.deliver.session import find_checkpoint
from services.producer.settings import Delivery, ProducerSettings
from shared.errors import BrokerUnavailable, FatalError


async def newest_checkpoint(settings: ProducerSettings) -> Checkpoint:
    """The one on disk or the one in Kafka. Raises FatalError when there is none, and BrokerUnavailable and the like."""
    on_disk = CheckpointStore(settings.checkpoint_file).load()
    in_kafka = None
    if settings.delivery is Delivery.EXACTLY_ONCE:
        try:
            in_kafka = await find_checkpoint(settings, settings.kafka_state_topic, settings.producer_name)
        except BrokerUnavailable:
            if on_disk is None:
                raise
    known = [checkpoint for checkpoint in (on_disk, in_kafka) if checkpoint is not None]
    if not known:
        raise FatalError(
            f"neither CHECKPOINT_FILE={settings.checkpoint_file} nor Kafka knows a checkpoint of "
            f"{settings.producer_name}: a producer with these settings has not run yet"
        )
    return max(known, key=lambda checkpoint: checkpoint.sequence)
