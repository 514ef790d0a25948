"""What operators do with the dead letters of consumer groups: list them, send them to their group again."""
