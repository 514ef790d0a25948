"""Producers with one thing broken on purpose, for the auditor to find: `python -m tests.chaos.mutants NAME`."""
