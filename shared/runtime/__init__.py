"""The life of a process: settings, log, health and metrics, signals and deadlines."""
