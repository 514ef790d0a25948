"""How the brokers of tests run: they live for a minute, for which the second compiler of Java is not worth its work."""

from __future__ import annotations

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"
# Of processes of this machine, and of containers.
QUICK_BROKERS = {"JAVA_TOOL_OPTIONS": JAVA_OPTIONS, "KAFKA_HEAP_OPTS": f"-Xms256m -Xmx512m {JAVA_OPTIONS}"}
