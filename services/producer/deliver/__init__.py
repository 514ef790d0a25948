"""From records to confirmations: partitions, batches, progress and the checkpoint. Knows positions, not files."""
