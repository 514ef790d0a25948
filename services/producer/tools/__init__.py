"""What the producer's tools at the command line have in common: the files they find, the checkpoint they believe."""

from __future__ import annotations

SETTINGS_HELP = "It takes the producer's settings from the environment; see: python -m services.producer --help"
