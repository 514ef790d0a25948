"""Break one thing, then run the producer as it is."""

from __future__ import annotations

import sys

from services.producer.app import serve
from services.producer.settings import ProducerSettings
from shared.runtime.lifecycle import main
from tests.chaos.mutants.clock import clock_from_a_file
from tests.chaos.mutants.delivery import MUTATIONS

CHANGES = {**MUTATIONS, "clock_from_a_file": clock_from_a_file}

if __name__ == "__main__":
    CHANGES[sys.argv[1]]()
    sys.exit(main(ProducerSettings, "", serve))
