"""The make verbs: one command line over both modes, `python -m compose.control VERB`."""
