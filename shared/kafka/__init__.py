"""The only package that imports aiokafka: its traps are known here, so that nobody else must know them."""
