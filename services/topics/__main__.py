"""`python -m services.topics`: make the topics, report drift, exit."""

from __future__ import annotations

import sys

from services.topics.app import serve
from services.topics.settings import TopicsSettings
from shared.runtime.lifecycle import main

USAGE = """
Makes the topics of the pipeline and exits. Topics that exist get missing partitions; settings that differ from what is
wanted are reported, not changed. Waits while the broker is away.
"""

if __name__ == "__main__":
    sys.exit(main(TopicsSettings, USAGE, serve))
