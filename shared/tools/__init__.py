"""What the tools at the command line have in common: their life, their progress, sending dead letters again."""
