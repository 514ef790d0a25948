"""What holds for all tests: hypothesis judges what comes out, never how long a busy machine took for it."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
