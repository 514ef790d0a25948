"""What holds for all tests: hypothesis judges what comes out, never how long a busy machine took for it."""

from __future__ import annotations

import os

import hypothesis

from tests.java import QUICK_BROKERS

os.environ |= QUICK_BROKERS

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
