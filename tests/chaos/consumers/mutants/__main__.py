"""Break one thing, then run the consumer as it is."""

from __future__ import annotations

import sys

from services.consumer.app import serve
from services.consumer.settings import ConsumerSettings
from shared.runtime.lifecycle import main
from tests.chaos.consumers.mutants.changes import CHANGES

if __name__ == "__main__":
    CHANGES[sys.argv[1]]()
    sys.exit(main(ConsumerSettings, "", serve))
