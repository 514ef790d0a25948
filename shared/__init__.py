"""What both services speak: schemas, the Kafka client, the life of a process."""
